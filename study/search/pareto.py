"""The Pareto front of two or three values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from optuna.trial import TrialState

from study.storage.trial_result import TrialResult


def on_front(points: Sequence[tuple[float, ...]]) -> list[bool]:
    """Whether each point is on the front: no other point is as low in all values and lower in one.

    Equal points are on the front together. Takes O(n log n), and O(n) for each point of the front.

    Args:
        points: equally many numbers each, none of them NaN.

    Examples:
        >>> on_front([(1.0, 3.0), (2.0, 2.0), (2.0, 4.0)])
        [True, True, False]
    """
    ordered, front = sorted(set(points)), set[tuple[float, ...]]()
    left = np.arange(len(ordered))
    others = np.array(ordered).T[1:]  # a row for each value but the first
    while len(left):
        # No point after the first one is lower in the first value, so the other values decide.
        front.add(ordered[left[0]])
        better = (others < others[:, :1]).any(axis=0)
        left, others = left[better], others[:, better]
    return [point in front for point in points]


def front_of(trials: Iterable[TrialResult]) -> list[TrialResult]:
    """The front of a study's complete trials, ordered by the first value, then by number.

    The first two values, distance and imbalance, are minimised, the third is maximised.
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    values = [trial.values or [] for trial in complete]
    marks = on_front([(*found[:2], *(-share for share in found[2:])) for found in values])
    front = [trial for trial, mark in zip(complete, marks, strict=True) if mark]
    return sorted(front, key=lambda trial: ((trial.values or [])[0], trial.number))
