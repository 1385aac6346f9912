"""The two networks, the generator's moving average, and sampling from a generator.

Nothing here trains or scores.
"""
