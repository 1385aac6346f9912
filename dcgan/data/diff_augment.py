"""DiffAugment: the discriminator sees photos and generated images only after random changes.

Zhao et al. 2020, "Differentiable Augmentation for Data-Efficient GAN Training" (arXiv:2006.10738).
Gradients pass through the changes to the generator, which therefore learns the photos as they are:
unlike `augment`, which changes photos only, and whose changes the generator learns.

Images are float `(N, 3, S, S)` in [-1, 1]; the results may leave this range. A CUDA graph can hold
everything, and the gradients are deterministic on every device.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dcgan.config.train_config import AugmentConfig

SHIFT_SHARE = 1 / 8
"""Images are shifted by up to this share of their side."""
HOLE_SHARE = 1 / 2
"""Side of the hidden square as a share of the image's."""


class DiffDraws(NamedTuple):
    """One number in [0, 1) per image and use, each `(N,)`."""

    shifted: Tensor
    shift_y: Tensor
    shift_x: Tensor
    coloured: Tensor
    brightness: Tensor
    saturation: Tensor
    contrast: Tensor
    cut: Tensor
    hole_y: Tensor
    hole_x: Tensor


def is_on(config: AugmentConfig) -> bool:
    """Whether any of the changes is made."""
    return config.diff_translation > 0 or config.diff_colour > 0 or config.diff_cutout > 0


def draw(count: int, generator: torch.Generator) -> Tensor:
    """Numbers in [0, 1) for this many images, `(N, 10)` on the generator's device."""
    size = (count, len(DiffDraws._fields))
    return torch.rand(size, generator=generator, device=generator.device)


def diff_augment(images: Tensor, config: AugmentConfig, drawn: Tensor) -> Tensor:
    """Change each image's colours, shift it, and hide a square, each with its own probability.

    `drawn` is what `draw` returned for these images.
    """
    draws = DiffDraws(*drawn.to(images.dtype).unbind(1))
    if config.diff_colour > 0:
        on = draws.coloured < config.diff_colour
        images = change_brightness(images, torch.where(on, draws.brightness - 0.5, 0))
        images = change_saturation(images, torch.where(on, 2 * draws.saturation, 1))
        images = change_contrast(images, torch.where(on, draws.contrast + 0.5, 1))
    if config.diff_translation > 0:
        on, limit = draws.shifted < config.diff_translation, shift_limit(images.shape[-1])
        down, right = (
            torch.where(on, _whole(number, 2 * limit + 1) - limit, 0)
            for number in (draws.shift_y, draws.shift_x)
        )
        images = translate(images, down, right, limit)
    if config.diff_cutout > 0:
        side, on = images.shape[-1], draws.cut < config.diff_cutout
        hole = int(side * HOLE_SHARE + 0.5)
        # The square's centre is anywhere, so a part of it may lie outside.
        top, left = (
            _whole(number, side + 1 - hole % 2) - hole // 2
            for number in (draws.hole_y, draws.hole_x)
        )
        images = hide_square(images, torch.where(on, top, side), left, hole)
    return images


def shift_limit(side: int) -> int:
    """Largest shift in pixels of an image of this side."""
    return int(side * SHIFT_SHARE + 0.5)


def change_brightness(images: Tensor, amount: Tensor) -> Tensor:
    """Add an amount, float `(N,)`, to each image."""
    return images + _per_image(amount)


def change_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Scale each pixel's distance from the mean of its channels by a factor, float `(N,)`."""
    return torch.lerp(images.mean(dim=1, keepdim=True), images, _per_image(factor))


def change_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Scale each image's distance from its mean by a factor, float `(N,)`."""
    return torch.lerp(images.mean(dim=(1, 2, 3), keepdim=True), images, _per_image(factor))


def translate(images: Tensor, down: Tensor, right: Tensor, limit: int) -> Tensor:
    """Shift each image by whole pixels, int64 `(N,)` in [-limit, limit]. New borders are 0."""
    shifted: Tensor = _Translate.apply(images, down, right, limit)
    return shifted


class _Translate(torch.autograd.Function):
    """A shift, whose gradient is the opposite shift. The library's is slow on a GPU."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, down: Tensor, right: Tensor, limit: int) -> Tensor:
        ctx.save_for_backward(down, right)
        ctx.limit = limit
        count, channels, side, _ = images.shape
        padded = F.pad(images, (limit, limit, limit, limit))
        pixels = torch.arange(limit, limit + side, device=images.device)
        rows = (pixels - down[:, None])[:, None, :, None]  # (N, 1, S, 1)
        columns = (pixels - right[:, None])[:, None, None, :]
        moved = padded.gather(2, rows.expand(count, channels, side, side + 2 * limit))
        return moved.gather(3, columns.expand(count, channels, side, side))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        down, right = ctx.saved_tensors
        return translate(gradient, -down, -right, ctx.limit), None, None, None


def hide_square(images: Tensor, top: Tensor, left: Tensor, side: int) -> Tensor:
    """Set a square of each image to 0. Its corner, int64 `(N,)`, may lie outside of the image."""
    pixels = torch.arange(images.shape[-1], device=images.device)
    rows, columns = (
        (pixels >= first[:, None]) & (pixels < first[:, None] + side) for first in (top, left)
    )
    hidden = rows[:, None, :, None] & columns[:, None, None, :]
    return images.masked_fill(hidden, 0)


def _whole(number: Tensor, count: int) -> Tensor:
    """A number in [0, 1) → one of 0, …, count - 1, int64."""
    return (number * count).long().clamp_(max=count - 1)  # float32 may round up


def _per_image(value: Tensor) -> Tensor:
    return value.view(-1, 1, 1, 1)
