"""The noise floor: what a perfect generator would score against these photos.

Sampling alone causes the distance between two halves of the photos. The score of a perfect
generator against all photos is extrapolated from distances at several sizes with the law of
`sampling_bias`, whose limit for large samples is 0. docs/metric_accuracy.md says how accurate that
is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics.frechet import Gaussian, distance_between, fit_gaussian
from dcgan.evaluation.metrics.matrix import ArrayLike, feature_matrix
from dcgan.evaluation.metrics.sampling_bias import Spectrum, expected_distance, fitted_spectrum


@dataclass(frozen=True)
class NoiseFloor:
    """Distances between disjoint random subsets of the photos, and the law fitted to them."""

    sizes: tuple[int, ...]
    """Images in each of the two subsets, largest first."""
    means: tuple[float, ...]
    """Mean distance for each size."""
    spreads: tuple[float, ...]
    """Standard deviation of one such distance, for each size."""
    spectrum: Spectrum
    """Of the fitted law."""

    def at(self, n_real: int, n_fake: int) -> float:
        """The mean distance of a perfect generator with `n_fake` images to `n_real` photos.

        Raises `EvaluationError` for fewer than 2 of either.
        """
        if min(n_real, n_fake) < 2:
            raise EvaluationError(
                f"the noise floor needs at least 2 images on either side but got {n_real} "
                f"and {n_fake}"
            )
        return expected_distance(self.spectrum, n_real, n_fake)


class Halves(NamedTuple):
    """The statistics of the photos that `times_floor` needs. Compute them once."""

    gaussians: tuple[Gaussian, ...]
    """Of random halves of the photos, `size` each."""
    floor: float
    """Mean distance of these halves to as many other photos."""
    size: int


def noise_floor(
    features: ArrayLike, *, repeats: int = 16, sizes: Sequence[int] | None = None, seed: int = 0
) -> NoiseFloor:
    """Measure distances between photos and photos, and fit the law that extrapolates them.

    Args:
        features: (n, d) of the photos, n >= 4.
        repeats: random pairs of disjoint subsets for each size, at least 2.
        sizes: images in each subset, from 2 to n // 2; by default n // 2 and four smaller ones
            down to an eighth of n.
        seed: of the random choice.

    Raises `EvaluationError` for too few photos, sizes or repeats, NaN or infinite features.
    """
    matrix = feature_matrix(features, "real", least=4)
    enough_repeats(repeats, 2)
    chosen = subset_sizes(sizes, len(matrix) // 2)
    table = np.empty((repeats, len(chosen)))
    for repeat, rows in enumerate(random_orders(matrix, repeats, seed)):
        for column, size in enumerate(chosen):
            first, second = fit_gaussian(rows[:size]), fit_gaussian(rows[size : 2 * size])
            table[repeat, column] = distance_between(first, second)
    means, spreads = table.mean(axis=0), table.std(axis=0, ddof=1)
    variances = matrix.var(dim=0)
    # other columns are constant up to rounding
    dimension = int((variances > 1e-24 * variances.max()).sum())
    return NoiseFloor(
        sizes=chosen,
        means=tuple(means.tolist()),
        spreads=tuple(spreads.tolist()),
        spectrum=fitted_spectrum(chosen, means, spreads, float(variances.sum()), max(dimension, 1)),
    )


def photo_halves(real: ArrayLike, n_fake: int, *, repeats: int = 16, seed: int = 0) -> Halves:
    """Random halves of the photos `(n, d)`, n >= 4, of at most `n_fake` photos each.

    Raises `EvaluationError` like `matrix.feature_matrix`, and for fewer than 1 repeat.
    """
    real_matrix = feature_matrix(real, "real", least=4)
    enough_repeats(repeats, 1)
    size = min(len(real_matrix) // 2, n_fake)
    halves, floors = [], []
    for rows in random_orders(real_matrix, repeats, seed):
        halves.append(fit_gaussian(rows[:size]))
        floors.append(distance_between(halves[-1], fit_gaussian(rows[size : 2 * size])))
    return Halves(tuple(halves), float(np.mean(floors)), size)


def times_floor(halves: Halves, fake: ArrayLike, *, seed: int = 0) -> float | None:
    """How many times farther from the photos a generator is than a perfect one would be.

    The ratio, >= 0, is about 1 for a perfect generator and above 1 for others; it is None if the
    photos all look the same. Both distances are measured at equal sizes, because the bias depends
    on them. A ratio below 1 does not mean better than perfect: with fewer images than dimensions
    the distance prefers a set that varies less than the photos (docs/metric_accuracy.md). Recall
    reveals such a generator; density, coverage and the kernel distance do not.

    Args:
        halves: of the photos, for at most as many fakes as there are.
        fake: (n, d) from the same extractor.
        seed: of the random choice of fakes.

    Raises the errors of `frechet_distance`.
    """
    matrix = feature_matrix(fake, "fake")
    # other seeds for the fakes, or the same rows of equally many fakes would be chosen
    orders = random_orders(matrix, len(halves.gaussians), seed + 1)
    distances = [
        distance_between(half, fit_gaussian(rows[: halves.size], "fake"))
        for half, rows in zip(halves.gaussians, orders, strict=True)
    ]
    return float(np.mean(distances)) / halves.floor if halves.floor else None


def random_orders(matrix: Tensor, repeats: int, seed: int) -> Iterator[Tensor]:
    """The rows of `matrix` in a random order, `repeats` times."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(repeats):
        yield matrix[torch.randperm(len(matrix), generator=generator)]


def subset_sizes(sizes: Sequence[int] | None, most: int) -> tuple[int, ...]:
    """Sizes of subsets, largest first: those given, or `most` and four down to a quarter of it.

    Raises `EvaluationError` if none is given or one is not from 2 to `most`.
    """
    if sizes is None:
        sizes = [max(2, round(most / 2 ** (step / 2))) for step in range(5)]
    chosen = tuple(sorted(set(sizes), reverse=True))
    if not chosen or chosen[-1] < 2 or chosen[0] > most:
        raise EvaluationError(
            f"sizes of subsets must be from 2 to {most} with so many photos but got {chosen}"
        )
    return chosen


def enough_repeats(repeats: int, least: int) -> None:
    """Raise EvaluationError unless there are at least so many repeats."""
    if repeats < least:
        raise EvaluationError(f"repeats must be at least {least} but got {repeats}")
