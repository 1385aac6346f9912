"""The machine below a run: devices, memory, random streams, files and pictures on disk.

Nothing here knows what a photo, a network or a config is.
"""
