"""What a run is told: the settings with their units and defaults, and the YAML files that set them.

Only descriptions of a run belong here, not code that acts on one.
"""
