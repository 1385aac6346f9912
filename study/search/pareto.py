"""The Pareto front of two minimised values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from optuna.trial import TrialState

from study.storage.trial_result import TrialResult


def on_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Whether each point is on the front: no other point is as low in both values and lower in one.

    Equal points are on the front together. Takes O(n log n).

    Args:
        points: pairs of numbers, none of them NaN.

    Examples:
        >>> on_front([(1.0, 3.0), (2.0, 2.0), (2.0, 4.0)])
        [True, True, False]
    """
    front: set[tuple[float, float]] = set()
    lowest: float | None = None
    for point in sorted(set(points)):
        # All points before it are at least as low in the first value, so the second one decides.
        if lowest is None or point[1] < lowest:
            front.add(point)
            lowest = point[1]
    return [point in front for point in points]


def front_of(trials: Iterable[TrialResult]) -> list[TrialResult]:
    """The front of a study's complete trials, ordered by the first value, then by number."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    values = [trial.values or [] for trial in complete]
    marks = on_front([(pair[0], pair[1]) for pair in values])
    front = [trial for trial, mark in zip(complete, marks, strict=True) if mark]
    return sorted(front, key=lambda trial: ((trial.values or [])[0], trial.number))
