"""Mean and covariance of features that arrive in batches and are not kept.

Each batch is centred at its own mean and merged with what came before by the update of Chan, Golub
& LeVeque 1979, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances". Sums
of squares of uncentred values are never formed: where the mean is a million times the spread, they
would lose every digit of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dcgan.errors import EvaluationError
from dcgan.metrics.frechet import Gaussian, gaussian_from_moments
from dcgan.metrics.matrix import ArrayLike, as_float64


class StreamingMoments:
    """Moments so far, float64 on the CPU; d² numbers are kept, however many images are added.

    For sets too large to keep (n ≫ d). Where the features fit in memory, `fit_gaussian` is as
    exact, quicker, and keeps directions whose variance is tiny (see `frechet_from_moments`).
    """

    def __init__(self, dimension: int) -> None:
        """Start with no images of `dimension` >= 1 features each.

        Raises:
            EvaluationError: the dimension is less than 1.
        """
        if dimension < 1:
            raise EvaluationError(f"features need at least 1 dimension but got {dimension}")
        self._count = 0
        self._mean = torch.zeros(dimension, dtype=torch.float64)
        self._scatter = torch.zeros(dimension, dimension, dtype=torch.float64)

    def add(self, features: ArrayLike) -> None:
        """Take in one batch; how images are cut into batches changes only the last digits.

        Args:
            features: (k, d), numpy or torch, any float dtype, finite; k may be 0 or 1.

        Raises:
            EvaluationError: another shape, or NaN, infinite or too large values. What was added
                before is unchanged then.
        """
        batch = as_float64(features)
        dimension = len(self._mean)
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
        total = self._count + len(batch)
        batch_mean = batch.mean(dim=0)
        batch = batch - batch_mean
        shift = batch_mean - self._mean
        # within the batch, within what came before, and between the two means
        weight = self._count * len(batch) / total
        scatter = self._scatter + batch.T @ batch + weight * torch.outer(shift, shift)
        mean = self._mean + shift * (len(batch) / total)
        if not (mean.isfinite().all() and scatter.isfinite().all()):
            raise EvaluationError(
                "the features are too large for a covariance; check the extractor"
            )
        self._count, self._mean, self._scatter = total, mean, scatter

    @property
    def count(self) -> int:
        """Images added so far."""
        return self._count

    @property
    def mean(self) -> Tensor:
        """(d,), a copy.

        Raises:
            EvaluationError: nothing was added yet.
        """
        self._need(1)
        return self._mean.clone()

    @property
    def covariance(self) -> Tensor:
        """(d, d), with n - 1, exactly symmetric.

        Raises:
            EvaluationError: fewer than 2 images were added.
        """
        self._need(2)
        return (self._scatter + self._scatter.T) / (2.0 * (self._count - 1))

    def gaussian(self) -> Gaussian:
        """What `distance_between` compares; takes an eigendecomposition (d³).

        Raises:
            EvaluationError: fewer than 2 images were added.
        """
        return gaussian_from_moments(self.mean, self.covariance)

    def _need(self, images: int) -> None:
        if self._count < images:
            raise EvaluationError(
                f"moments need at least {images} images but {self._count} were added"
            )
