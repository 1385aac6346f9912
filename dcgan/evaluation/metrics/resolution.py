"""How many photos and fakes are needed to tell two generators apart.

This simulation needs photos only. Three disjoint parts of them serve as the photos, as the fakes,
and as the source of a random direction with the photos' covariance. The fakes are shifted along it
until the true distance is the given score. docs/metric_accuracy.md has the accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics.floor import enough_repeats, random_orders, subset_sizes
from dcgan.evaluation.metrics.frechet import distance_between, fit_gaussian
from dcgan.evaluation.metrics.matrix import ArrayLike, feature_matrix

TWO_SIDED_95 = 1.96 * math.sqrt(2.0)
"""Chance parts two independent measurements by more standard deviations in 1 of 20 cases."""


@dataclass(frozen=True)
class Resolution:
    """The smallest visible difference between two generators, by the number of images."""

    sizes: tuple[int, ...]
    """Photos, and as many fakes, largest first."""
    spreads: tuple[float, ...]
    """Standard deviation of the measured distance, for each size."""
    differences: tuple[float, ...]
    """Smallest visible difference, relative to the score, for each size."""
    difference: float
    """The relative difference asked for."""
    images: int
    """Photos, and as many fakes, that resolve it. Extrapolated beyond the largest size."""


def resolvable_difference(
    features: ArrayLike,
    score: float,
    *,
    difference: float = 0.05,
    repeats: int = 32,
    sizes: Sequence[int] | None = None,
    seed: int = 0,
) -> Resolution:
    """The number of images at which two generators of about this score are told apart.

    Two measurements, each with its own photos and fakes, differ visibly (95 %) if they differ by
    1.96 √2 standard deviations. With m images a side, the variance of a distance is a/m + b/m²:
    a = 8 v'Sv comes from the shift v, b from the noise floor. a is computed and b is fitted,
    because the measured variances show mostly b, and a governs larger sets.

    The answer is an order of magnitude: real generators differ in more than a shift. Generators
    with similar faults on the same photos need up to half as many, because they share the photos'
    part of the noise.

    Args:
        features: (n, d) of the photos, n >= 6.
        score: the true distance, > 0, in squared feature units: a measured distance minus the
            noise floor.
        difference: relative difference to resolve, > 0.
        repeats: random pairs of subsets for each size, at least 2, each with a new direction.
        sizes: images in each subset, from 2 to n // 3; by default n // 3 and four smaller ones.
        seed: of the random choice.

    Raises `EvaluationError` for too few photos, sizes or repeats, NaN or infinite features, a score
    or difference that is not above 0, or photos whose features are all alike.
    """
    for name, value in (("score", score), ("difference", difference)):
        if not (math.isfinite(value) and value > 0.0):
            raise EvaluationError(f"the {name} to resolve must be above 0 but got {value}")
    matrix = feature_matrix(features, "real", least=6)
    enough_repeats(repeats, 2)
    chosen = subset_sizes(sizes, len(matrix) // 3)
    table, slopes = np.empty((repeats, len(chosen))), np.empty(repeats)
    rng = torch.Generator().manual_seed(seed + 1)  # not the numbers that choose the subsets
    shape = repeats, len(matrix) - 2 * chosen[0]
    weights = torch.randn(shape, generator=rng, dtype=torch.float64)
    for repeat, rows in enumerate(random_orders(matrix, repeats, seed)):
        used, rest = rows[: 2 * chosen[0]], rows[2 * chosen[0] :]
        shift = _shift(rest, weights[repeat], score)
        # v'Sv with the covariance of other photos than v was mixed from
        slopes[repeat] = 8.0 * float((used @ shift).var())
        for column, size in enumerate(chosen):
            fakes = fit_gaussian(used[size : 2 * size] + shift)
            table[repeat, column] = distance_between(fit_gaussian(used[:size]), fakes)
    variances = table.var(axis=0, ddof=1)
    spreads = np.sqrt(variances)
    wanted = (difference * score / TWO_SIDED_95) ** 2
    return Resolution(
        sizes=chosen,
        spreads=tuple(spreads.tolist()),
        differences=tuple((TWO_SIDED_95 * spreads / score).tolist()),
        difference=difference,
        images=_images(chosen, variances, float(slopes.mean()), wanted),
    )


def _shift(rows: Tensor, weights: Tensor, score: float) -> Tensor:
    """A random mix of centred rows with their covariance, scaled to the squared length `score`."""
    mix = weights @ (rows - rows.mean(dim=0))
    length = float(mix.norm())
    if length == 0.0:
        raise EvaluationError("the photos' features are all alike; check the photos")
    return mix * (math.sqrt(score) / length)


def _images(
    sizes: Sequence[int], variances: npt.NDArray[np.float64], a: float, wanted: float
) -> int:
    """The size m at which the variance a/m + b/m² is the one wanted; at least 2."""
    seen = variances > 0.0  # few repeats may all agree
    share, variances = 1.0 / np.array(sizes, dtype=np.float64)[seen], variances[seen]
    # b by least squares of relative errors, which are alike for large and small variances
    relative = share**2 / variances
    weight = float((relative**2).sum())
    b = float((relative * (1.0 - a * share / variances)).sum()) / weight if weight else 0.0
    b = max(0.0, b)
    images = (a + math.sqrt(a**2 + 4.0 * b * wanted)) / (2.0 * wanted)
    return max(2, math.ceil(images))
