"""Does a change help? Pairs of trainings that differ in it alone, looked at after each pair.

A difference is ln(score with the change) − ln(score without it). Scores are distances, lower is
better, so a negative difference helps, and exp(difference) − 1 is the relative change.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.special import stdtrit

from study.evidence.sequential import FEWEST, levels

WORTH_MENTIONING = 0.1
"""A smaller relative change is no difference worth mentioning."""
SHOWN_OF_LAST = 1.25
"""Level of the interval that is shown, as a multiple of the last look's level.

The intervals that decide hold at all looks together, so each of them alone is too wide. With this
one 94 to 97 % of the shown intervals hold the truth, wherever the looks stopped
(`python -m benchmarks.evidence.asking`)."""
MOST_FORESEEN = 1000
"""Pairs beyond which nobody is told how many would decide."""


class Verdict(StrEnum):
    """What the pairs say of a change."""

    HELPS = "helps"
    HURTS = "hurts"
    ALIKE = "no difference worth mentioning"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Change:
    """What a change does to the score, as a share of it; negative is better."""

    verdict: Verdict
    change: float
    """Estimate; −0.2 means a score that is lower by 20 %."""
    low: float
    high: float
    """Its 95 % interval."""
    pairs: int
    wins: int
    """Pairs in which the change lowered the score."""
    more: int | None
    """About how many more pairs would decide, if they are like those so far; None once decided, or
    if it would take very many."""


def judge(
    differences: Sequence[float],
    most: int,
    *,
    margin: float = WORTH_MENTIONING,
    error: float = 0.05,
) -> Change:
    """Judge differences of ln(score), after any number of pairs up to `most`.

    Verdicts of all looks together are wrong in at most a share `error` of the questions.

    Args:
        differences: one a pair, in the order of the pairs; at least one.
        most: pairs at which the question ends undecided.
        margin: relative change that is worth mentioning.
    """
    values = np.asarray(differences, dtype=float)
    count, mean = len(values), float(values.mean())
    wins = int((values < 0).sum())
    if count < FEWEST:
        return Change(Verdict.UNDECIDED, np.expm1(mean), -1.0, np.inf, count, wins, None)
    each = levels(most, error)
    spread = float(values.std(ddof=1))
    verdict = _verdict(mean, _half(spread, count, each[count - FEWEST]), margin)
    shown = _half(spread, count, min(SHOWN_OF_LAST * each[-1], error))
    low, high = float(np.expm1(mean - shown)), float(np.expm1(mean + shown))
    more = None
    if verdict is Verdict.UNDECIDED:
        more = _more(mean, spread, count, each[-1], margin)
    return Change(verdict, float(np.expm1(mean)), low, high, count, wins, more)


def _verdict(mean: float, half: float, margin: float) -> Verdict:
    worth = np.log1p(margin)
    if mean + half < 0:
        return Verdict.HELPS
    if mean - half > 0:
        return Verdict.HURTS
    return Verdict.ALIKE if abs(mean) + half < worth else Verdict.UNDECIDED


def _half(spread: float, count: int, level: float) -> float:
    """Half the width of Student's interval."""
    return float(stdtrit(count - 1, 1 - level / 2) * spread / np.sqrt(count))


def _more(mean: float, spread: float, count: int, level: float, margin: float) -> int | None:
    def decides(pairs: int) -> bool:
        return _verdict(mean, _half(spread, pairs, level), margin) is not Verdict.UNDECIDED

    least = bisect_left(range(MOST_FORESEEN + 1), True, lo=count + 1, key=decides)
    return least - count if least <= MOST_FORESEEN else None
