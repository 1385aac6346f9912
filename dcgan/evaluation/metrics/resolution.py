"""How many photos and fakes are needed to tell two generators apart.

This is a simulation on the photos alone. Some photos play the fakes of a generator whose images are
shifted in feature space, in a random direction with the covariance of the photos, until the true
distance is the given score. Three disjoint parts of the photos serve as the photos, as the fakes,
and as the source of the direction; the accuracy is in docs/evidence.md.
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
from dcgan.evaluation.metrics.floor import (
    enough_photos,
    enough_repeats,
    random_orders,
    subset_sizes,
)
from dcgan.evaluation.metrics.frechet import distance_between, fit_gaussian
from dcgan.evaluation.metrics.matrix import ArrayLike

TWO_SIDED_95 = 1.96 * math.sqrt(2.0)
"""Standard deviations between two independent measurements that chance exceeds 1 time in 20."""


@dataclass(frozen=True)
class Resolution:
    """What difference between two generators can be seen, by how many images are compared."""

    score: float
    """The true distance of both, about."""
    sizes: tuple[int, ...]
    """Photos, and as many fakes; largest first."""
    spreads: tuple[float, ...]
    """Standard deviation of the measured distance, for each size."""
    differences: tuple[float, ...]
    """Smallest difference told apart, relative to the score, for each size."""
    difference: float
    """The relative difference asked for."""
    images: int
    """Photos, and as many fakes, that resolve it; beyond the largest size it is extrapolated."""


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

    Two measurements differ visibly (95 %, each with its own photos and fakes) when they differ by
    1.96 √2 standard deviations. With m images a side, the variance of a distance is a/m + b/m²:
    a = 8 v'Sv comes from the shift v, with which the difference of the means varies, b from the
    noise floor. a is computed and b fitted to the measured variances, because few images show b
    only, and more images are governed by a.

    Two generators with much the same faults, compared on the same photos, need up to half as many,
    because the photos' share of the noise is common to both. Real generators differ in more than a
    shift; take the answer as an order of magnitude.

    Args:
        features: (n, d) of the photos; n >= 6.
        score: the true distance, > 0, in squared feature units: a measured distance minus what the
            noise floor adds to it.
        difference: relative difference to resolve, > 0.
        repeats: random pairs of subsets for each size, at least 2; each has a new direction.
        sizes: images in each subset, from 2 to n // 3; by default n // 3 and four smaller ones.
        seed: of the random choice.

    Raises:
        EvaluationError: too few photos, sizes or repeats, NaN or infinite features, a score or
            difference that is not above 0, or photos whose features are all alike.
    """
    for name, value in (("score", score), ("difference", difference)):
        if not (math.isfinite(value) and value > 0.0):
            raise EvaluationError(f"the {name} to resolve must be above 0 but got {value}")
    matrix = enough_photos(features, 6)
    enough_repeats(repeats, 2)
    chosen = subset_sizes(sizes, len(matrix) // 3)
    table, slopes = np.empty((repeats, len(chosen))), np.empty(repeats)
    weights = _normal_weights(repeats, len(matrix) - 2 * chosen[0], seed)
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
    return Resolution(
        score=score,
        sizes=chosen,
        spreads=tuple(spreads.tolist()),
        differences=tuple((TWO_SIDED_95 * spreads / score).tolist()),
        difference=difference,
        images=_images(
            chosen, variances, float(slopes.mean()), (difference * score / TWO_SIDED_95) ** 2
        ),
    )


def _normal_weights(repeats: int, rows: int, seed: int) -> Tensor:
    # not the numbers that choose the subsets
    generator = torch.Generator().manual_seed(seed + 1)
    return torch.randn((repeats, rows), generator=generator, dtype=torch.float64)


def _shift(rows: Tensor, weights: Tensor, score: float) -> Tensor:
    """A random mix of centred rows, which has their covariance, of squared length `score`."""
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
    # b by least squares of relative errors: those of all variances are alike, large or small
    relative = share**2 / variances
    weight = float((relative**2).sum())
    b = float((relative * (1.0 - a * share / variances)).sum()) / weight if weight else 0.0
    b = max(0.0, b)
    images = (a + math.sqrt(a**2 + 4.0 * b * wanted)) / (2.0 * wanted)
    return max(2, math.ceil(images))
