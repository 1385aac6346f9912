"""How a run trains: the step, the loop around it, and what stops, resumes, records and speeds it up.

What one run leaves on disk is in `run/`.
"""
