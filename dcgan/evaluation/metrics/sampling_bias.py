"""What two samples of one distribution score against each other: the Fréchet distance's bias.

The distance of the true distributions is 0; that of samples is not, and how it falls with their
sizes depends on the eigenvalues λ of the covariance. For samples of n₁ and n₂ of Gaussian features:

- The means differ by tr S (1/n₁ + 1/n₂), exactly.
- Of the covariance term, mode i contributes 2 λᵢ (1 - F(γᵢ₁, γᵢ₂)), γᵢ = 2 sᵢ/(n - 1), where
  sᵢ = ½ + Σⱼ λⱼ/(λᵢ + λⱼ) counts the modes no smaller than it. For n well above d this is the
  second-order expansion of the Bures distance (Bhatia, Jain & Lim 2019, "On the Bures-Wasserstein
  distance between positive definite matrices", arXiv:1712.01504) averaged over Wishart matrices:
  F = 1 - (γᵢ₁ + γᵢ₂)/8. With fewer images than modes the distance saturates instead of growing
  with 1/n; F then is that of a flat spectrum (all λ equal, γ = d/n), see `_overlap`.

The saturation is an approximation made here, for want of a published one; the tests and
`floor` say how good it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Vector: TypeAlias = npt.NDArray[np.float64]

MAX_GROUPS = 160
"""Modes are taken together in at most so many groups of neighbouring ranks."""


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


def expected_distance(spectrum: Spectrum, n_first: int, n_second: int) -> float:
    """Mean squared Fréchet distance between independent samples of one distribution.

    It goes to 0 where both sizes grow, as 1/n_first + 1/n_second at first.

    Args:
        spectrum: of that distribution.
        n_first: images in one sample, at least 2.
        n_second: images in the other.
    """
    values, counts = _grouped(spectrum)
    above = 0.5 + (counts * values / (values[:, None] + values)).sum(axis=1)
    overlap = _overlap(2.0 * above / (n_first - 1), 2.0 * above / (n_second - 1))
    covariance_term = 2.0 * float((counts * values * (1.0 - overlap)).sum())
    return spectrum.total_variance * (1.0 / n_first + 1.0 / n_second + covariance_term)


def fitted_spectrum(
    sizes: Sequence[int], means: Vector, spreads: Vector, total: float, dimension: int
) -> Spectrum:
    """The spectrum whose expected distances are nearest to the measured ones.

    Least squares weighted by the means' standard errors (all have the same number of repeats);
    0.1 % of a mean at least, so that a size whose repeats agree by chance does not rule.
    """
    from scipy.optimize import least_squares  # type: ignore[import-untyped]  # late: 0.3 s

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


def _grouped(spectrum: Spectrum) -> tuple[Vector, Vector]:
    """Eigenvalues over their sum, one for each group of ranks, and how many ranks it stands for."""
    edges = np.unique(np.geomspace(1, spectrum.dimension + 1, MAX_GROUPS + 1).round())
    counts = np.diff(edges)
    power = np.sqrt(edges[:-1] * (edges[1:] - 1.0)) ** -spectrum.decay
    power /= (counts * power).sum()
    return (1.0 - spectrum.flat) * power + spectrum.flat / spectrum.dimension, counts


def _overlap(first: Vector, second: Vector) -> Vector:
    """tr (S₁ S₂)^½ / d of two sample covariances of a flat spectrum (S = 1) in d dimensions.

    Args:
        first: d / (n - 1) of one sample, > 0.
        second: of the other.

    With more dimensions than images, turning the sample with fewer of them upside down leaves the
    same problem in as many dimensions as it has images: F(a, b) = F(1/a, b/a) / √a for 1 < a >= b
    (nonzero eigenvalues of AA' and A'A are the same). What remains, a and b up to 1, is 1 - a/4 for
    a = b, to all digits of a simulation; the last term was fitted to Marchenko & Pastur's law at
    b = 0 and to simulations in between, and is off by 0.002 at most.
    """
    larger, smaller = np.maximum(first, second), np.minimum(first, second)
    outside = np.maximum(larger, 1.0)
    a, b = np.where(larger > 1.0, 1.0 / outside, larger), smaller / outside
    # after turning, b/a may exceed 1/a
    a, b = np.maximum(a, b), np.minimum(a, b)
    inside = 1.0 - (a + b) / 8.0 - (a - b) ** 2 * (1.0 + a * 2.0 / 3.0) / 64.0
    overlap: Vector = inside / np.sqrt(outside)
    return overlap
