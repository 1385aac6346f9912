"""How often a pruner would have lost the winner, by trials that trained on where it stops them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats


@dataclass(frozen=True)
class Audit:
    """Trials that would have been stopped and were not."""

    trials: int
    better: int
    """Those that ended better than all the others."""
    ahead: int
    """Those that ended in the better half of the others."""
    at_most: float
    """Upper end of the 95 % interval of the share that ends better than all others."""


def audit(doomed: Sequence[float], others: Sequence[float]) -> Audit | None:
    """Compare the final scores of trials that would have been stopped with those of the others.

    One of the former that ended early after all has an infinite score. The interval is that of
    Clopper & Pearson (1934). None without scores of both kinds.
    """
    if not doomed or not others:
        return None
    best, middle = min(others), sorted(others)[(len(others) - 1) // 2]
    better = sum(score < best for score in doomed)
    limits = stats.binomtest(better, len(doomed)).proportion_ci(0.95, method="exact")
    ahead = sum(score <= middle for score in doomed)
    return Audit(len(doomed), better, ahead, float(limits.high))
