"""A study's settings and search space, and the train config that a trial makes of them."""
