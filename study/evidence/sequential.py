"""Looking at paired differences again after each pair, at a stated error rate.

A t-test at 5 % after each of twelve pairs finds a difference in about 20 % of the cases without
one. Here each look has a smaller level of its own, and together they err in 5 % (a group-sequential
test; Jennison & Turnbull 2000, *Group Sequential Methods*, chapters 4 and 9). Levels rise with the
square of the number of pairs, because a t-test of two or three pairs is worth little.

The t statistics of normal differences have the same distribution whatever their mean and spread, so
a simulation gives the levels. Differences with heavier tails make the test err less.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy import stats

FEWEST = 2
"""Pairs at the first look."""
RISE = 2.0
"""Levels of looks are proportional to this power of the number of pairs."""
SIMULATED = 100_000
"""Sequences of differences; they give the last level to within 2 %."""


@cache
def levels(most: int, error: float = 0.05) -> tuple[float, ...]:
    """The two-sided level of a t-test after each number of pairs from `FEWEST` to `most`.

    Args:
        most: pairs at the last look, at least `FEWEST`.
        error: the chance that any of the tests rejects the true mean.
    """
    if most < FEWEST or not 0 < error < 1:
        raise ValueError(f"{most} pairs, error {error}: at least {FEWEST} and a share are needed")
    pairs = np.arange(1, most + 1)
    normal = np.random.default_rng(0).standard_normal((SIMULATED, most))
    means = normal.cumsum(axis=1) / pairs
    squares = (normal**2).cumsum(axis=1) - pairs * means**2
    looks = slice(FEWEST - 1, None)
    errors = np.sqrt(squares[:, looks] / (pairs[looks] - 1) / pairs[looks])
    p_values = 2 * stats.t.sf(np.abs(means[:, looks]) / errors, pairs[looks] - 1)
    shape = (pairs[looks] / most) ** RISE
    last = np.quantile((p_values / shape).min(axis=1), error)
    return tuple((last * shape).tolist())
