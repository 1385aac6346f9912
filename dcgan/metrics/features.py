"""Images to features: what an extractor is, how one is loaded by name, and how one is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from dcgan.errors import EvaluationError
from dcgan.metrics.matrix import as_float64


class Extractor(Protocol):
    """Turns images into features. A metric's name says which extractor made its features."""

    @property
    def name(self) -> str:
        """Short name, as in `eval.extractor`: "random"."""

    @property
    def frechet_name(self) -> str:
        """Name of the Fréchet distance of these features: "fd_random"."""

    @property
    def kernel_name(self) -> str:
        """Name of the kernel distance of these features: "kd_random"."""

    @property
    def dimension(self) -> int:
        """Features per image, d."""

    @property
    def fingerprint(self) -> str:
        """Hex digest of weights and definition; only equal fingerprints may be compared."""

    @property
    def device(self) -> torch.device:
        """Where it expects images; `extract` moves them there."""

    def __call__(self, images: Tensor, /) -> Tensor:
        """uint8 (N, 3, S, S) on `device` -> float32 (N, d); each row depends on its image only."""


def _load_random(device: torch.device) -> Extractor:
    from dcgan.metrics.random_network import load_random_network

    return load_random_network(device)


_LOADERS: dict[str, Callable[[torch.device], Extractor]] = {"random": _load_random}


def load_extractor(name: str, device: torch.device | str) -> Extractor:
    """Load an extractor by its name in `eval.extractor`.

    Args:
        name: "random", or "auto" for the best one available; the result's `name` says which.
        device: where it will run.

    Raises:
        EvaluationError: an unknown name, or its weights are missing or changed.
    """
    loader = _LOADERS.get("random" if name == "auto" else name)
    if loader is None:
        known = ", ".join(["auto", *_LOADERS])
        raise EvaluationError(f"the extractor {name!r} is not known; use one of: {known}")
    return loader(torch.device(device))


def extract(extractor: Extractor, images: Tensor, batch_size: int = 256) -> Tensor:
    """Features of all images, in full float32 and without gradients.

    Args:
        extractor: see `Extractor`.
        images: uint8 (N, 3, S, S), N >= 1, on any device.
        batch_size: images at once (memory only; features agree to float32 rounding).

    Returns:
        float64 tensor (N, d) on the CPU.

    Raises:
        EvaluationError: the images are not such a tensor, or the extractor's output is not finite
            or not (N, d).
    """
    if images.dtype != torch.uint8:
        raise EvaluationError(f"images to score must be uint8 but are {images.dtype}")
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise EvaluationError(
            f"images to score must have the shape (N, 3, S, S) but got {tuple(images.shape)}"
        )
    if 0 in images.shape:
        raise EvaluationError(f"there are no images to score: the shape is {tuple(images.shape)}")
    if batch_size < 1:
        raise EvaluationError(f"batch_size must be at least 1 but got {batch_size}")
    features = torch.empty((len(images), extractor.dimension), dtype=torch.float64)
    with torch.no_grad(), _full_float32(extractor.device):
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


@contextmanager
def _full_float32(device: torch.device) -> Iterator[None]:
    """No autocast and no TF32: by default CUDA convolutions keep 10 bits of each factor."""
    convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]  # set at import time
    before = convolutions.fp32_precision
    convolutions.fp32_precision = "ieee"
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        convolutions.fp32_precision = before
