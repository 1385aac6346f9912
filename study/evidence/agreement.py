"""How well two orders of the same configs agree, and from which epoch on a score says something."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ENOUGH = 10
"""Pairs below which nothing is said."""


@dataclass(frozen=True)
class Interval:
    """A number with its limits."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Step:
    """How well the scores at an epoch agree with the final ones."""

    epoch: int
    correlation: Interval
    configs: int


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> Interval | None:
    """Spearman's rank correlation with its 95 % interval (Bonett & Wright 2000).

    None with fewer than `ENOUGH` pairs, or if all values of one are equal.
    """
    if len(first) < ENOUGH or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    from scipy import stats  # late: half a second

    rho = float(stats.spearmanr(first, second).statistic)
    if abs(rho) >= 1:
        return Interval(rho, rho, rho)
    half = 1.96 * math.sqrt((1 + rho**2 / 2) / (len(first) - 3))
    centre = math.atanh(rho)
    return Interval(rho, math.tanh(centre - half), math.tanh(centre + half))


def ladder(curves: Sequence[tuple[Mapping[int, float], float]]) -> list[Step]:
    """How well the order of configs at each epoch agrees with that of their final scores.

    Args:
        curves: for each config its scores by epoch, and its final score.

    Returns:
        One step for each epoch that `ENOUGH` configs have a score of, ascending.
    """
    found = []
    for epoch in sorted({epoch for curve, _ in curves for epoch in curve}):
        pairs = [(curve[epoch], final) for curve, final in curves if epoch in curve]
        correlation = rank_correlation(*zip(*pairs, strict=True))
        if correlation is not None:
            found.append(Step(epoch, correlation, len(pairs)))
    return found
