"""Fréchet distance between two sets of features, each modelled as a Gaussian (the FID formula).

    |m1 - m2|² + tr(S1 + S2 - 2 (S1 S2)^½)

Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
Equilibrium" (arXiv:1706.08500); covariances with n - 1. The trace term follows Mathiasen &
Hvilshøj 2020, "Backpropagating through Fréchet Inception Distance" (arXiv:2009.14075): with
S1 = A'A and S2 = B'B, tr (S1 S2)^½ is the sum of the singular values of A B'. This needs no matrix
square root, so it is also exact with fewer images than dimensions. Two shortcuts through squared
matrices (eigenvalues, Cholesky) are taken only where the lost digits do not matter.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics.matrix import ArrayLike, as_float64, feature_matrix, same_dimension

SQUARED_ERROR_LIMIT = 1e-9
"""Largest part of the sum of singular values that squaring them may lose."""
CHOLESKY_RATIO = 1e-4
"""Smallest ratio of diagonal entries for Cholesky: its square is far above float64's resolution."""


class Gaussian(NamedTuple):
    """The statistics of one set that the distance needs. Compute those of the photos once."""

    mean: Tensor
    """(d,)"""
    factor: Tensor
    """(k, d) with k <= d; factor' factor is the covariance."""


def fit_gaussian(features: ArrayLike, name: str = "real") -> Gaussian:
    """Mean and covariance (n - 1) of features `(n, d)`; the factor is (min(n - 1, d), d).

    Raises the errors of `matrix.feature_matrix`.
    """
    matrix = feature_matrix(features, name)
    count, dimension = matrix.shape
    mean = matrix.mean(dim=0)
    # Centred rows sum to 0, so one is redundant. The Householder reflection that turns (1, ..., 1)
    # into the first axis empties that row and leaves n - 1 independent ones.
    shift = mean + (matrix[0] - mean) / (count**0.5 + 1)
    factor = torch.sub(matrix[1:], shift).div_((count - 1) ** 0.5)
    return Gaussian(mean, _triangle(factor) if count - 1 > dimension else factor)


def _triangle(factor: Tensor) -> Tensor:
    """R, upper triangular (d, d), with R'R = factor' factor; factor is (k, d) with k > d."""
    lower: Tensor
    lower, failed = torch.linalg.cholesky_ex(factor.T @ factor)
    diagonal = lower.diagonal().abs()
    if not failed and diagonal.min() > CHOLESKY_RATIO * diagonal.max():
        return lower.T
    upper: Tensor = torch.linalg.qr(factor, mode="r").R
    return upper


def distance_between(real: Gaussian, fake: Gaussian) -> float:
    """Squared Fréchet distance between two Gaussians, >= 0.

    Raises `EvaluationError` if the dimensions differ or the numbers are too large for float64.
    """
    same_dimension(real.mean.shape[0], fake.mean.shape[0])
    mean_term = (real.mean - fake.mean).square().sum()
    # the trace of factor' factor is the sum of its squared entries
    traces = real.factor.square().sum() + fake.factor.square().sum()
    if not (mean_term + traces).isfinite():
        raise EvaluationError(
            "the Fréchet distance is not finite: the features are too large; check the extractor"
        )
    cross = _sum_of_singular_values(real.factor @ fake.factor.T)
    return max(0.0, float(mean_term + traces - 2.0 * cross))  # rounding may give less than 0


def _sum_of_singular_values(matrix: Tensor) -> Tensor:
    """Nuclear norm of (r, c). For a wide M the roots of M M' eigenvalues take half the time."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    if wide.shape[1] > 1.5 * wide.shape[0] > 0:
        total, lost = sum_of_roots(wide @ wide.T)
        if lost <= SQUARED_ERROR_LIMIT * total:
            return total
    exact: Tensor = torch.linalg.svdvals(wide)
    return exact.sum()


def sum_of_roots(square: Tensor) -> tuple[Tensor, Tensor]:
    """tr S^½ of a covariance (k, k), and an upper bound of the part lost by squaring.

    Small eigenvalues vanish in the rounding of the largest.
    """
    eigenvalues = torch.linalg.eigvalsh(square).clamp(min=0)
    roots: Tensor = eigenvalues.sqrt()
    rounding = 8 * torch.finfo(roots.dtype).eps * eigenvalues[-1]
    # a root moves by at most rounding / root, and by no more than the rounding's own root
    lost = torch.minimum(rounding / roots, rounding.sqrt()).nan_to_num()
    return roots.sum(), lost.sum()


def frechet_distance(real: ArrayLike, fake: ArrayLike) -> float:
    """Squared Fréchet distance, >= 0, between features `(n1, d)` and `(n2, d)` of one extractor.

    It is biased upward by about 1/n: never compare values of different n. Raises `EvaluationError`
    for fewer than 2 rows, different d, NaN or infinite features.

    Examples:
        >>> photos = torch.tensor([[0.0], [2.0]])
        >>> frechet_distance(photos, photos + 3.0)
        9.0
    """
    return distance_between(fit_gaussian(real, "real"), fit_gaussian(fake, "fake"))


def gaussian_from_moments(mean: ArrayLike, cov: ArrayLike) -> Gaussian:
    """The Gaussian of a mean (d,) and a covariance (d, d); the factor is (rank, d)."""
    eigenvalues, vectors = torch.linalg.eigh(as_float64(cov))
    # Smaller eigenvalues are rounding. Their square roots (1e-8) would not be small.
    smallest = len(eigenvalues) * torch.finfo(torch.float64).eps * eigenvalues.abs().max()
    kept = eigenvalues > smallest
    return Gaussian(as_float64(mean), eigenvalues[kept].sqrt()[:, None] * vectors[:, kept].T)


class StreamingMoments:
    """Moments of a set too large to keep, in d² float64 numbers on the CPU.

    `fit_gaussian` is faster and keeps directions of tiny variance. A covariance loses those below
    1e-13 of the largest one.
    """

    def __init__(self, dimension: int) -> None:
        if dimension < 1:
            raise EvaluationError(f"features need at least 1 dimension but got {dimension}")
        self.count = 0
        self._mean = torch.zeros(dimension, dtype=torch.float64)
        self._scatter = torch.zeros(dimension, dimension, dtype=torch.float64)

    def add(self, features: ArrayLike) -> None:
        """Add one batch `(k, d)`, k >= 0. The batch size only changes the last digits.

        Another shape and NaN, infinite or too large values raise `EvaluationError`. The moments
        then stay as they were.
        """
        batch, dimension = as_float64(features), len(self._mean)
        if batch.ndim != 2 or batch.shape[1] != dimension:
            raise EvaluationError(
                f"a batch of features must have the shape (images, {dimension}) "
                f"but got {tuple(batch.shape)}"
            )
        if not len(batch):
            return
        if not batch.isfinite().all():
            raise EvaluationError(
                "a batch of features holds NaN or infinite values; "
                "check the images and the extractor"
            )
        total = self.count + len(batch)
        batch_mean = batch.mean(dim=0)
        batch, shift = batch - batch_mean, batch_mean - self._mean
        # within the batch, within what came before, and between the two means
        weight = self.count * len(batch) / total
        scatter = self._scatter + batch.T @ batch + weight * torch.outer(shift, shift)
        mean = self._mean + shift * (len(batch) / total)
        if not (mean.isfinite().all() and scatter.isfinite().all()):
            raise EvaluationError(
                "the features are too large for a covariance; check the extractor"
            )
        self.count, self._mean, self._scatter = total, mean, scatter

    @property
    def mean(self) -> Tensor:
        """(d,), a copy. Raises EvaluationError before the first image."""
        self._need(1)
        return self._mean.clone()

    @property
    def covariance(self) -> Tensor:
        """(d, d), with n - 1, exactly symmetric. Raises EvaluationError below 2 images."""
        self._need(2)
        return (self._scatter + self._scatter.T) / (2.0 * (self.count - 1))

    def gaussian(self) -> Gaussian:
        """The same moments for `distance_between`. Takes an eigendecomposition (d³)."""
        return gaussian_from_moments(self.mean, self.covariance)

    def _need(self, images: int) -> None:
        if self.count < images:
            raise EvaluationError(
                f"moments need at least {images} images but {self.count} were added"
            )
