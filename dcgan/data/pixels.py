"""The three forms of an image, and the only conversions between them.

Images at rest are uint8 RGB `(N, 3, S, S)`. Augmentations work on floats in [0, 1], networks on
floats in [-1, 1].
"""

from __future__ import annotations

import torch


def to_unit(images: torch.Tensor) -> torch.Tensor:
    """uint8 images of any shape → float32 in [0, 1]. Raises `TypeError` if they are not uint8."""
    if images.dtype != torch.uint8:
        raise TypeError(f"images must be uint8 but are {images.dtype}")
    return images.to(torch.float32) / 255


def to_signed(images: torch.Tensor) -> torch.Tensor:
    """Float images in [0, 1] → the same images in [-1, 1], the range of the networks."""
    return images * 2 - 1


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """Float images in [-1, 1] → uint8, rounded to the nearest grey level. Others are clamped.

    Exact inverse of `to_signed(to_unit(…))`. Raises `TypeError` if the images are no floats.
    """
    if not images.is_floating_point():
        raise TypeError(f"images must be floats in [-1, 1] but are {images.dtype}")
    return ((images.to(torch.float32) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
