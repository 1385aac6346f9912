"""How a run trains: the step, the loop around it, resuming, recording, and speed.

What one run leaves on disk is in `run/`.
"""
