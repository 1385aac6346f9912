"""Where the variance of the final scores comes from: the configs, or chance of several kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST = 3


@dataclass(frozen=True)
class Budget:
    """Variances of ln(score); `seed` holds `sampling` and `checkpoint`."""

    total: float
    """Between the final scores of a study's configs, of one training each."""
    seed: float
    """Between trainings of one config."""
    sampling: float
    """From drawing the generated images that are scored."""
    checkpoint: float
    """From one evaluation of a training to the next, beyond the trend."""

    @property
    def config(self) -> float:
        """What is left for the configs; 0 if chance alone gives as much."""
        return max(self.total - self.seed, 0.0)

    @property
    def reliability(self) -> float:
        """The share of the variance that is due to the configs, 0 to 1.

        It is the correlation that one would expect between the scores and those of the same configs
        on other seeds (Spearman 1904).
        """
        return self.config / self.total if self.total > 0 else 0.0


def budget(
    finals: Sequence[float],
    spread: float,
    intervals: Sequence[tuple[float, float]],
    curves: Sequence[Sequence[float]],
) -> Budget | None:
    """Split the variance of final scores; None with fewer than `FEWEST`.

    Args:
        finals: one positive score for each config.
        spread: standard deviation of ln(score) between seeds of one config.
        intervals: 95 % intervals of scores that sampling the images alone causes.
        curves: for each training its last scores, equally spaced, in their order.
    """
    if len(finals) < FEWEST:
        return None
    sampling = [(np.log(high / low) / (2 * 1.96)) ** 2 for low, high in intervals if low > 0]
    return Budget(
        float(np.var(np.log(finals), ddof=1)),
        spread**2,
        float(np.mean(sampling)) if sampling else 0.0,
        _beyond_trend(curves),
    )


def _beyond_trend(curves: Sequence[Sequence[float]]) -> float:
    """Variance of scores around their smooth course, from second differences.

    Independent errors of variance v give second differences a variance of 6 v, and a straight
    course gives them nothing (Gasser, Sroka & Jennen-Steinmetz 1986, for equal distances).
    """
    squares = [
        float(change)
        for curve in curves
        for change in np.diff(np.log(np.asarray(curve, dtype=float)), 2) ** 2
    ]
    return sum(squares) / len(squares) / 6 if squares else 0.0
