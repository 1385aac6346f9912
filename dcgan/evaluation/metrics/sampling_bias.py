"""What two samples of one distribution score against each other: the Fréchet distance's bias.

It falls with the sample sizes, depending on the eigenvalues λ of the covariance. For samples of n₁
and n₂ rows of Gaussian features:

- The means differ by tr S (1/n₁ + 1/n₂), exactly.
- Mode i adds 2 λᵢ (1 - F(γᵢ₁, γᵢ₂)) to the covariance term, γᵢ = 2 sᵢ/(n - 1), where
  sᵢ = ½ + Σⱼ λⱼ/(λᵢ + λⱼ) counts the modes no smaller than mode i. For n well above d,
  F = 1 - (γᵢ₁ + γᵢ₂)/8, the second-order expansion of the Bures distance (Bhatia, Jain & Lim 2019,
  "On the Bures-Wasserstein distance between positive definite matrices", arXiv:1712.01504) averaged
  over Wishart matrices. With fewer images than modes the distance saturates; `_overlap` then takes
  F from a flat spectrum (all λ equal, γ = d/n).

The saturation is our own approximation. The tests and docs/metric_accuracy.md show its accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Vector: TypeAlias = npt.NDArray[np.float64]

MAX_GROUPS = 160
"""Largest number of groups of neighbouring ranks that stand for all modes."""


class Spectrum(NamedTuple):
    """Eigenvalues of a covariance in two numbers: a power law on top of a flat part.

    λₖ ∝ (1 - flat) k^-decay / Σ k^-decay + flat / d, the trace being `total_variance`.
    """

    total_variance: float
    """tr S, >= 0."""
    dimension: int
    """d, features that vary."""
    decay: float
    """>= 0; 0 is a flat spectrum, features of images have 1 to 2."""
    flat: float
    """The part of the variance that is spread evenly, in [0, 1]."""


def expected_distance(
    spectrum: Spectrum, n_first: int, n_second: int, *, groups: int = MAX_GROUPS
) -> float:
    """Mean squared Fréchet distance between independent samples of one distribution.

    Both samples hold at least 2 images. The distance falls to 0 as both sizes grow. With fewer
    `groups` than dimensions, neighbouring ranks share an eigenvalue.
    """
    values, counts = grouped(spectrum, groups)
    above = 0.5 + (counts * values / (values[:, None] + values)).sum(axis=1)
    overlap = _overlap(2.0 * above / (n_first - 1), 2.0 * above / (n_second - 1))
    covariance_term = 2.0 * float((counts * values * (1.0 - overlap)).sum())
    return spectrum.total_variance * (1.0 / n_first + 1.0 / n_second + covariance_term)


def fitted_spectrum(
    sizes: Sequence[int], means: Vector, spreads: Vector, total: float, dimension: int
) -> Spectrum:
    """The spectrum whose expected distances are nearest to the measured ones.

    Least squares weighted by the means' standard errors. They count as at least 0.1 % of a mean, so
    that a size whose repeats agree by chance does not dominate.
    """
    from scipy.optimize import least_squares  # late: 0.3 s

    flat_spectrum = Spectrum(total, dimension, decay=0.0, flat=0.0)
    if not means.any():
        return flat_spectrum
    weights = 1.0 / np.maximum(spreads, 1e-3 * means)

    def spectrum(parameters: Vector) -> Spectrum:
        # one size cannot tell two parameters apart
        decay, flat = parameters if len(sizes) > 1 else (parameters[0], 0.0)
        return flat_spectrum._replace(decay=float(decay), flat=float(flat))

    def residuals(parameters: Vector) -> Vector:
        law = spectrum(parameters)
        return weights * (np.array([expected_distance(law, m, m) for m in sizes]) - means)

    unknown = min(len(sizes), 2)
    bounds = ([0.0] * unknown, [8.0, 1.0][:unknown])
    fits = [
        least_squares(residuals, [start, 0.1][:unknown], bounds=bounds, xtol=1e-5, ftol=1e-6)
        for start in (0.7, 2.0)  # two valleys: mostly decay, mostly flat
    ]
    return spectrum(min(fits, key=lambda fit: fit.cost).x)


def grouped(spectrum: Spectrum, groups: int = MAX_GROUPS) -> tuple[Vector, Vector]:
    """Relative eigenvalues, one for each group of ranks, and the number of ranks in each group."""
    edges = np.unique(np.geomspace(1, spectrum.dimension + 1, groups + 1).round())
    counts = np.diff(edges)
    power = np.sqrt(edges[:-1] * (edges[1:] - 1.0)) ** -spectrum.decay
    power /= (counts * power).sum()
    return (1.0 - spectrum.flat) * power + spectrum.flat / spectrum.dimension, counts


def _overlap(first: Vector, second: Vector) -> Vector:
    """tr (S₁ S₂)^½ / d of two sample covariances of a flat spectrum (S = 1) in d dimensions.

    The arguments are d / (n - 1) > 0 of both samples. AA' and A'A share their nonzero eigenvalues,
    so F(a, b) = F(1/a, b/a) / √a for 1 < a >= b. For a and b up to 1, F is 1 - a/4 where a = b. The
    last term was fitted to Marchenko & Pastur's law at b = 0 and to simulations in between, with
    errors up to 0.002.
    """
    larger, smaller = np.maximum(first, second), np.minimum(first, second)
    outside = np.maximum(larger, 1.0)
    a, b = np.where(larger > 1.0, 1.0 / outside, larger), smaller / outside
    # b/a may exceed 1/a
    a, b = np.maximum(a, b), np.minimum(a, b)
    inside = 1.0 - (a + b) / 8.0 - (a - b) ** 2 * (1.0 + a * 2.0 / 3.0) / 64.0
    overlap: Vector = inside / np.sqrt(outside)
    return overlap
