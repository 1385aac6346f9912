"""What an extractor is, and how one is run. `registry` loads one by name."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics.matrix import as_float64
from dcgan.runtime.numerics import full_float32


class Extractor(Protocol):
    """Turns images into features. Names of metrics say which extractor made the features."""

    @property
    def name(self) -> str:
        """Short name: "layout", "inception", or NAME of your own as in fd_NAME."""

    @property
    def frechet_name(self) -> str:
        """Name of the Fréchet distance of these features: "fd_layout"."""

    @property
    def kernel_name(self) -> str:
        """Name of the kernel distance of these features: "kd_layout"."""

    @property
    def dimension(self) -> int:
        """Features per image, d."""

    @property
    def fingerprint(self) -> str:
        """Digest (hex) of weights and definition. Only scores of equal ones may be compared."""

    @property
    def source(self) -> str:
        """Where it came from, in plain words, such as "shipped with the package"."""

    @property
    def device(self) -> torch.device:
        """Where it expects images. `extract` moves them there."""

    def __call__(self, images: Tensor, /) -> Tensor:
        """uint8 (N, 3, H, W) on `device` -> float32 (N, d). A row depends on its image only."""


def extract(extractor: Extractor, images: Tensor, batch_size: int = 256) -> Tensor:
    """Features of all images, in full float32 and without gradients.

    Args:
        extractor: see `Extractor`.
        images: uint8 (N, 3, H, W), N >= 1, on any device.
        batch_size: images at once. It changes memory, and features by float32 rounding only.

    Returns:
        float64 tensor (N, d) on the CPU.

    Raises:
        EvaluationError: the images are not such a tensor, or the extractor's output is not finite
            or not (N, d).
    """
    if images.dtype != torch.uint8:
        raise EvaluationError(f"images to score must be uint8 but are {images.dtype}")
    if images.ndim != 4 or images.shape[1] != 3:
        raise EvaluationError(
            f"images to score must have the shape (N, 3, H, W) but got {tuple(images.shape)}"
        )
    if 0 in images.shape:
        raise EvaluationError(f"there are no images to score: the shape is {tuple(images.shape)}")
    if batch_size < 1:
        raise EvaluationError(f"batch_size must be at least 1 but got {batch_size}")
    features = torch.empty((len(images), extractor.dimension), dtype=torch.float64)
    with torch.no_grad(), full_float32(extractor.device):
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size].to(extractor.device)
            features[start : start + batch_size] = _checked(extractor, extractor(batch), len(batch))
    return features


def _checked(extractor: Extractor, output: Tensor, count: int) -> Tensor:
    expected = (count, extractor.dimension)
    if tuple(output.shape) != expected:
        raise EvaluationError(
            f"the extractor {extractor.name!r} must return the shape {expected} "
            f"but returned {tuple(output.shape)}"
        )
    features = as_float64(output)
    if not features.isfinite().all():
        raise EvaluationError(f"the extractor {extractor.name!r} returned NaN or infinite features")
    return features
