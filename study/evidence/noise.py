"""The noise between seeds at each epoch, from trainings of one config on several seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from study.evidence.race import USUAL, Noise


class Squares(NamedTuple):
    """What repeated trainings say of the noise at an epoch."""

    total: float
    """Sum of squares of ln(score) around the mean of its config."""
    freedom: int
    """Degrees of freedom: trainings less configs."""


Measured = Mapping[int, Squares]
"""Epoch → the noise there."""


def measure(groups: Iterable[Sequence[Mapping[int, float]]]) -> dict[int, Squares]:
    """The noise at each epoch at which two trainings of a config have a score.

    Args:
        groups: for each config its trainings, each as epoch → score. Scores that are not positive
            have no logarithm and are left out.
    """
    found: dict[int, Squares] = {}
    for trainings in groups:
        for epoch in {epoch for training in trainings for epoch in training}:
            scores = [training[epoch] for training in trainings if training.get(epoch, 0.0) > 0]
            if len(scores) > 1:
                logs = np.log(scores)
                here = Squares(float(((logs - logs.mean()) ** 2).sum()), len(logs) - 1)
                found[epoch] = _sum(found.get(epoch), here)
    return found


def together(first: Measured, second: Measured) -> dict[int, Squares]:
    """Both measurements as one; they have no training in common."""
    merged = dict(first)
    for epoch, squares in second.items():
        merged[epoch] = _sum(merged.get(epoch), squares)
    return merged


def noise_at(measured: Measured, epoch: int, assumed: float = USUAL.spread) -> Noise:
    """The noise at an epoch: what is measured at the nearest one, with what was `assumed` before.

    Nearest means the smallest ratio of the two epochs, as curves change with their logarithm.
    """
    before = Noise(assumed, USUAL.weight)
    if not measured:
        return before
    nearest = min(measured, key=lambda one: (abs(math.log(one / epoch)), one))
    total, freedom = measured[nearest]
    weight = before.weight + freedom
    return Noise(math.sqrt((before.weight * before.spread**2 + total) / weight), weight)


def margin(spread: float, comparisons: int = 1) -> float:
    """The difference that normal noise of this standard deviation exceeds in 5 % of cases.

    With several comparisons, of which the largest counts, in 5 % for all together (Bonferroni).
    """
    return -NormalDist().inv_cdf(0.05 / comparisons) * spread


def beyond_chance(score: float, other: float, spread: float, comparisons: int = 1) -> bool:
    """Whether a score is worse than another number by more than one training's noise explains.

    `spread` is the noise's standard deviation in ln(score); see `margin`. False for numbers that
    are not positive.
    """
    if score <= 0 or other <= 0:
        return False
    return math.log(score / other) > margin(spread, comparisons)


def _sum(first: Squares | None, second: Squares) -> Squares:
    if first is None:
        return second
    return Squares(first.total + second.total, first.freedom + second.freedom)
