"""An extractor, and how one is run. `registry` loads one by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics.matrix import as_float64
from dcgan.evaluation.metrics.parts import Part
from dcgan.runtime.numerics import full_float32

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Extractor:
    """A function from images to features, and what identifies it."""

    name: str
    """Short name: `joint`, `imagenet`, `inception`, `layout`, or NAME for your own (fd_NAME)."""
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
    with_classes: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
    """The same, and the class that each image resembles most, int64 (N,), for a classifier."""
    parts: tuple[Part, ...] = ()
    """The extractors whose features these are side by side; empty for all but `joint`."""

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
    parts = [_checked(extractor, *one) for one in _run(extractor, extractor, images, batch_size)]
    return torch.cat(parts)


def extract_with_classes(
    extractor: Extractor, images: Tensor, batch_size: int = 256
) -> tuple[Tensor, Tensor | None]:
    """Like `extract`, and the images' classes, int64 `(N,)` on the CPU, None without a classifier.

    Raises `EvaluationError` like `extract`.
    """
    both = extractor.with_classes
    if both is None:
        return extract(extractor, images, batch_size), None
    features, classes = list[Tensor](), list[Tensor]()
    for (some, named), count in _run(extractor, both, images, batch_size):
        features.append(_checked(extractor, some, count))
        classes.append(named.cpu())
    return torch.cat(features), torch.cat(classes)


def _run(
    extractor: Extractor, function: Callable[[Tensor], T], images: Tensor, batch_size: int
) -> Iterator[tuple[T, int]]:
    """A function's results on batches of images on the extractor's device, and their sizes."""
    shape = tuple(images.shape)
    if images.dtype != torch.uint8 or len(shape) != 4 or shape[1] != 3 or 0 in shape:
        raise EvaluationError(
            "images to score must be uint8 of the shape (N, 3, H, W), not empty, but are "
            f"{images.dtype} of the shape {shape}"
        )
    if batch_size < 1:
        raise EvaluationError(f"batch_size must be at least 1 but got {batch_size}")
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size].to(extractor.device)
        with torch.no_grad(), full_float32(extractor.device):
            result = function(batch)
        yield result, len(batch)


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
