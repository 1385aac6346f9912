"""The convolutions of a DCGAN, as matrix products where the library's are much slower.

Weights, results and state dicts are those of `nn.Conv2d` and `nn.ConvTranspose2d`. Images are
channels-last in memory, so a convolution over the whole image is one matrix product without a copy.
One that doubles the side is a product with all 16 taps at once, whose results are added where they
overlap (Dumoulin & Visin 2016, arXiv:1603.07285, chapter 4).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

KERNEL = 4


class _ShownAsTheLibrarys(nn.Module):
    """Prints under the name of the library's layer, which readers know."""

    def _get_name(self) -> str:
        return "Conv2d" if isinstance(self, nn.Conv2d) else "ConvTranspose2d"


class Project(_ShownAsTheLibrarys, nn.ConvTranspose2d):
    """Noise `(N, nz, 1, 1)` → `(N, C, 4, 4)`: a transposed convolution of a single pixel."""

    def __init__(self, nz: int, channels: int) -> None:
        super().__init__(nz, channels, KERNEL, stride=1, padding=0, bias=False)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        images = (input.flatten(1) @ _taps(self.weight)).view(len(input), KERNEL, KERNEL, -1)
        return _plus(images.permute(0, 3, 1, 2), self.bias)


class Double(_ShownAsTheLibrarys, nn.ConvTranspose2d):
    """`(N, C, s, s)` → `(N, C', 2s, 2s)`: 4×4, stride 2, padding 1.

    With `by_product` a CPU computes a matrix product, which is faster for 4 × 4 pixels and for few
    channels out.
    """

    def __init__(self, wide: int, narrow: int, *, by_product: bool = False) -> None:
        super().__init__(wide, narrow, KERNEL, stride=2, padding=1, bias=False)
        self.by_product = by_product

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if self.by_product and input.device.type == "cpu":
            return _plus(_DoubleByProduct.apply(input, self.weight), self.bias)
        return super().forward(input)


class Halve(_ShownAsTheLibrarys, nn.Conv2d):
    """`(N, C, s, s)` → `(N, C', s/2, s/2)` with even s: 4×4, stride 2, padding 1."""

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__(narrow, wide, KERNEL, stride=2, padding=1, bias=False)


class Verdict(_ShownAsTheLibrarys, nn.Conv2d):
    """`(N, C, 4, 4)` → one logit each, `(N, 1, 1, 1)`."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 1, KERNEL, stride=1, padding=0, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        pixels = input.permute(0, 2, 3, 1).flatten(1)
        return (pixels @ _taps(self.weight).T).view(-1, 1, 1, 1)


class _DoubleByProduct(torch.autograd.Function):
    """Transposed convolution, 4×4, stride 2, padding 1, of images in channels-last memory."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor) -> Tensor:
        """(N, C, s, s), (C, C', 4, 4) → (N, C', 2s, 2s)"""
        ctx.save_for_backward(images, weight)
        count, _, side, _ = images.shape
        parts = _pixels(images) @ _taps(weight)  # (N·s·s, 4·4·C')
        # Pixel (i, j)'s tap (y, x) belongs to pixel (2i + y, 2j + x) of the result with its border.
        # With y = 2a + p and x = 2b + q that is row 2(i + a) + p and column 2(j + b) + q.
        parts = parts.view(count, side, side, 2, 2, 2, 2, -1)  # n, i, j, a, p, b, q, c
        result = parts.new_zeros(count, side + 1, 2, side + 1, 2, parts.shape[-1])
        for a in (0, 1):
            for b in (0, 1):
                shifted = parts[:, :, :, a, :, b].transpose(2, 3)  # n, i, p, j, q, c
                result[:, a : a + side, :, b : b + side] += shifted
        bordered = result.view(count, 2 * side + 2, 2 * side + 2, -1).permute(0, 3, 1, 2)
        inner = bordered[..., 1:-1, 1:-1]
        return inner.contiguous(memory_format=torch.channels_last)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """(N, C', 2s, 2s) → gradients of images and weight, each where it is needed."""
        images, weight = ctx.saved_tensors
        count, channels, side, _ = images.shape
        padded = F.pad(gradient, (1, 1, 1, 1)).contiguous(memory_format=torch.channels_last)
        # The 4×4 window that each pixel of the smaller image sees: (N, C', s, s, 4, 4).
        windows = padded.unfold(2, KERNEL, 2).unfold(3, KERNEL, 2)
        windows = windows.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(0, 2)  # (N·s·s, 4·4·C')
        for_images = for_weight = None
        if ctx.needs_input_grad[0]:
            pixels = windows @ _taps(weight).T
            for_images = pixels.view(count, side, side, channels).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[1]:
            taps = _pixels(images).T @ windows  # (C, 4·4·C')
            for_weight = taps.view(channels, KERNEL, KERNEL, -1).permute(0, 3, 1, 2)
        return for_images, for_weight


def _plus(images: Tensor, bias: Tensor | None) -> Tensor:
    """Add a channel's bias, which only a layer with a folded BatchNorm has."""
    return images if bias is None else images + bias.view(-1, 1, 1)


def _pixels(images: Tensor) -> Tensor:
    """(N, C, H, W) → (N·H·W, C); a view of channels-last memory."""
    return images.permute(0, 2, 3, 1).reshape(-1, images.shape[1])


def _taps(weight: Tensor) -> Tensor:
    """(A, B, 4, 4) → (A, 4·4·B); a view of channels-last memory."""
    return weight.permute(0, 2, 3, 1).flatten(1)
