"""The settings of a run, their units and defaults, and YAML files; no code that acts on them."""
