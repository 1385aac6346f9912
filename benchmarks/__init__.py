"""Benchmarks, run by hand from the root of a checkout: `python -m benchmarks.training.step`."""

import dcgan as dcgan  # before torch, as in both commands (see its first lines)
