"""An extractor, and how one is run. `registry` loads one by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics.matrix import as_float64
from dcgan.runtime.numerics import full_float32


@dataclass(frozen=True, eq=False)
class Extractor:
    """A function from images to features, and what identifies it."""

    name: str
    """Short name: `layout`, `inception`, or NAME for your own, as in fd_NAME."""
    frechet_name: str
    """Name of the Fréchet distance of these features, as in `fd_layout`."""
    kernel_name: str
    """Name of the kernel distance of these features, as in `kd_layout`."""
    dimension: int
    """Features per image, d."""
    fingerprint: str
    """Digest (hex) of weights and definition. Compare only scores of equal fingerprints."""
    source: str
    """Its origin in words, such as "shipped with the package"."""
    device: torch.device
    """Device of the images. `extract` moves them there."""
    function: Callable[[Tensor], Tensor]
    """uint8 (N, 3, H, W) on `device` → float32 (N, d). A row depends on its image only."""

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """The features of images, without gradients."""
        return self.function(images)


def extract(extractor: Extractor, images: Tensor, batch_size: int = 256) -> Tensor:
    """Features, float64 `(N, d)` on the CPU, of images, uint8 `(N, 3, H, W)` on any device.

    They are computed in full float32 and without gradients. `batch_size` changes the memory, and
    the features only by rounding. Raises `EvaluationError` if the images are not such a tensor, if
    N is 0, or if the extractor's output is not finite or not (N, d).
    """
    shape = tuple(images.shape)
    if images.dtype != torch.uint8 or len(shape) != 4 or shape[1] != 3 or 0 in shape:
        raise EvaluationError(
            "images to score must be uint8 of the shape (N, 3, H, W), not empty, but are "
            f"{images.dtype} of the shape {shape}"
        )
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
