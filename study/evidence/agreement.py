"""How well two orders of the same configs agree, and from which epoch on a score says something."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ENOUGH = 10
"""Pairs below which nothing is said."""
FEW = 5
"""The same for configs that were trained several times, whose interval is wide but told."""


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


def rank_correlation(
    first: Sequence[float], second: Sequence[float], enough: int = ENOUGH
) -> Interval | None:
    """Spearman's rank correlation with its 95 % interval (Bonett & Wright 2000).

    None with fewer than `enough` pairs, at least four, or if all values of one are equal.
    """
    if len(first) < enough or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    from scipy import stats  # late: half a second

    rho = float(stats.spearmanr(first, second).statistic)
    half = 1.96 * math.sqrt((1 + rho**2 / 2) / (len(first) - 3))
    # An order that agrees wholly has no finite centre. One exchange of neighbours is as near to it
    # as an order of so many can be.
    inside = 1 - 6 / (len(first) * (len(first) ** 2 - 1))
    centre = math.atanh(max(-inside, min(inside, rho)))
    low, high = math.tanh(centre - half), math.tanh(centre + half)
    return Interval(rho, min(low, rho), max(high, rho))


def ladder(curves: Sequence[tuple[Mapping[int, float], float]], enough: int = ENOUGH) -> list[Step]:
    """How well the order of configs at each epoch agrees with that of their final scores.

    Args:
        curves: for each config its scores by epoch, and its final score.

    Returns:
        One step for each epoch that `enough` configs have a score of, ascending.
    """
    found = []
    for epoch in sorted({epoch for curve, _ in curves for epoch in curve}):
        pairs = [(curve[epoch], final) for curve, final in curves if epoch in curve]
        first, second = zip(*pairs, strict=True)
        correlation = rank_correlation(first, second, enough)
        if correlation is not None:
            found.append(Step(epoch, correlation, len(pairs)))
    return found
