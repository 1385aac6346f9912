"""The noise floor: what a perfect generator would score against these photos.

Two halves of the photos come from one distribution, so sampling alone causes their distance. The
photos only suffice for halves. The score of a perfect generator against all photos is extrapolated
with the law of `sampling_bias`; its spectrum is fitted to distances measured at several sizes. The
limit for large samples is 0 by construction, because both sets share one mean and one covariance.
The measured accuracy is in docs/evidence.md.
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
from dcgan.evaluation.metrics.matrix import ArrayLike, feature_matrix, feature_pair, same_dimension
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
    """What the extrapolation rests on."""

    def at(self, n_real: int, n_fake: int) -> float:
        """The mean distance that a perfect generator scores with `n_fake` against `n_real` photos.

        Raises:
            EvaluationError: fewer than 2 of either.
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
    """Of random halves, `size` photos each."""
    floor: float
    """Mean distance of these halves to as many other photos."""
    size: int


class NoFloorError(EvaluationError):
    """The photos do not differ, so that their halves are at distance 0."""


class MatchedFloor(NamedTuple):
    """A generator beside a perfect one, both measured against `size` photos with `size` images."""

    distance: float
    """Mean distance of random halves of the photos to as many random fakes."""
    floor: float
    """Mean distance of those halves to as many other photos."""
    ratio: float
    """distance / floor: about 1 for a perfect generator, above 1 for others; see `times_floor`."""
    size: int
    """Images on each side."""


def noise_floor(
    features: ArrayLike,
    *,
    repeats: int = 16,
    sizes: Sequence[int] | None = None,
    seed: int = 0,
) -> NoiseFloor:
    """Measure distances between photos and photos, and fit the law that extrapolates them.

    Args:
        features: (n, d) of the photos; n >= 4. Takes about as long as 2 · repeats · sizes
            distances of n/4 images.
        repeats: random pairs of disjoint subsets for each size, at least 2.
        sizes: images in each subset, from 2 to n // 2; by default n // 2 and four smaller ones
            down to an eighth of n.
        seed: of the random choice.

    Raises:
        EvaluationError: too few photos, sizes or repeats, NaN or infinite features.
    """
    matrix = enough_photos(features, 4)
    enough_repeats(repeats, 2)
    chosen = subset_sizes(sizes, len(matrix) // 2)
    table = np.array(
        [
            [_split_distance(rows, size) for size in chosen]
            for rows in random_orders(matrix, repeats, seed)
        ]
    )
    means, spreads = table.mean(axis=0), table.std(axis=0, ddof=1)
    variances = matrix.var(dim=0)
    # the rest are constant but for rounding
    dimension = int((variances > 1e-24 * variances.max()).sum())
    return NoiseFloor(
        sizes=chosen,
        means=tuple(means.tolist()),
        spreads=tuple(spreads.tolist()),
        spectrum=fitted_spectrum(chosen, means, spreads, float(variances.sum()), max(dimension, 1)),
    )


def photo_halves(real: ArrayLike, n_fake: int, *, repeats: int = 16, seed: int = 0) -> Halves:
    """Random halves of the photos, or sets of `n_fake` where that is less. As of `times_floor`."""
    real_matrix = enough_photos(real, 4)
    enough_repeats(repeats, 1)
    size = min(len(real_matrix) // 2, n_fake)
    halves, floors = [], []
    for rows in random_orders(real_matrix, repeats, seed):
        halves.append(fit_gaussian(rows[:size]))
        floors.append(distance_between(halves[-1], fit_gaussian(rows[size : 2 * size])))
    return Halves(tuple(halves), float(np.mean(floors)), size)


def times_floor(
    real: ArrayLike | Halves, fake: ArrayLike, *, repeats: int = 16, seed: int = 0
) -> MatchedFloor:
    """How many times farther from the photos a generator is than a perfect one would be.

    Both are measured at equal sizes, half of the photos against as many images, because a distance
    to all photos and a distance between halves have different bias. The same halves serve both.

    A ratio below 1 does not mean better than perfect. With fewer images than dimensions the
    distance prefers a set that varies less than the photos (docs/evidence.md). Recall reveals such
    a generator; density, coverage and the kernel distance do not.

    Args:
        real: (n1, d) features of the photos, n1 >= 4, or their halves from `photo_halves` with the
            same repeats, seed and number of fakes.
        fake: (n2, d) from the same extractor; with fewer than n1 // 2, all sizes are n2.
        repeats: random halves and random fakes, at least 1.
        seed: of the random choice.

    Raises:
        EvaluationError: see `frechet_distance`; fewer than 4 photos, or no repeats.
        NoFloorError: photos whose features are all alike.
    """
    fake_matrix = feature_matrix(fake, "fake")
    if isinstance(real, Halves):
        halves = real
        same_dimension(len(halves.gaussians[0].mean), fake_matrix.shape[1])
    else:
        real_matrix, fake_matrix = feature_pair(real, fake_matrix)
        halves = photo_halves(real_matrix, len(fake_matrix), repeats=repeats, seed=seed)
    if halves.floor == 0.0:
        raise NoFloorError("the photos' features are all alike; check the photos")
    # other seeds for the fakes, or the same rows of equally many fakes would be chosen
    fake_orders = random_orders(fake_matrix, len(halves.gaussians), seed + 1)
    distance = float(
        np.mean(
            [
                distance_between(half, fit_gaussian(fakes[: halves.size], "fake"))
                for half, fakes in zip(halves.gaussians, fake_orders, strict=True)
            ]
        )
    )
    return MatchedFloor(distance, halves.floor, distance / halves.floor, halves.size)


def _split_distance(rows: Tensor, size: int) -> float:
    return distance_between(fit_gaussian(rows[:size]), fit_gaussian(rows[size : 2 * size]))


def random_orders(matrix: Tensor, repeats: int, seed: int) -> Iterator[Tensor]:
    """The rows of `matrix` in a random order, `repeats` times."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(repeats):
        yield matrix[torch.randperm(len(matrix), generator=generator)]


def subset_sizes(sizes: Sequence[int] | None, most: int) -> tuple[int, ...]:
    """Sizes of subsets, largest first.

    Args:
        sizes: as asked for; none: `most` and four smaller ones, down to a quarter of it.
        most: the largest size there are photos for, at least 2.

    Raises:
        EvaluationError: none given, or one is not from 2 to `most`.
    """
    if sizes is None:
        sizes = [max(2, round(most / 2 ** (step / 2))) for step in range(5)]
    chosen = tuple(sorted(set(sizes), reverse=True))
    if not chosen or chosen[-1] < 2 or chosen[0] > most:
        raise EvaluationError(
            f"sizes of subsets must be from 2 to {most} with so many photos but got {chosen}"
        )
    return chosen


def enough_photos(features: ArrayLike, least: int) -> Tensor:
    """The features of the photos, checked.

    Raises:
        EvaluationError: see `feature_matrix`, or fewer than `least` rows.
    """
    matrix = feature_matrix(features, "real")
    if len(matrix) < least:
        raise EvaluationError(
            f"disjoint subsets of the photos need at least {least} of them but got {len(matrix)}"
        )
    return matrix


def enough_repeats(repeats: int, least: int) -> None:
    """Raise EvaluationError unless there are at least so many repeats."""
    if repeats < least:
        raise EvaluationError(f"repeats must be at least {least} but got {repeats}")
