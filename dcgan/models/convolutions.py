"""The convolutions of a DCGAN, faster on a CPU where the library's are much slower.

Weights, results and state dicts are those of `nn.Conv2d` and `nn.ConvTranspose2d`. Halving and
doubling the side are each other's gradient (Dumoulin & Visin 2016, arXiv:1603.07285, chapter 4), so
both are made of the same three functions: `halve`, `double` and `weight_gradient`. On a CPU two of
them leave the library in one case each, which are faster in float32 and in bfloat16. Images and
weights are channels-last in memory, so that no copy is needed for that. Everything can be
differentiated twice.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

KERNEL = 4
FEW_CHANNELS = 4
"""The library's transposed convolution to this many channels or fewer is slow."""
SMALL_SIDE = 4
"""The library's weight gradient for images of this side or smaller is slow."""


class _ShownAsTheLibrarys(nn.Module):
    """Prints under the name of the library's layer, which readers know."""

    def _get_name(self) -> str:
        return "Conv2d" if isinstance(self, nn.Conv2d) else "ConvTranspose2d"


class Project(_ShownAsTheLibrarys, nn.ConvTranspose2d):
    """Noise `(N, nz, 1, 1)` → `(N, C, 4, 4)`: a transposed convolution of a single pixel."""

    def __init__(self, nz: int, channels: int) -> None:
        super().__init__(nz, channels, KERNEL, stride=1, padding=0, bias=False)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        images = (input.flatten(1) @ as_matrix(self.weight)).view(len(input), KERNEL, KERNEL, -1)
        return _plus(images.permute(0, 3, 1, 2), self.bias)


class Double(_ShownAsTheLibrarys, nn.ConvTranspose2d):
    """`(N, C, s, s)` → `(N, C', 2s, 2s)`: 4×4, stride 2, padding 1."""

    def __init__(self, wide: int, narrow: int) -> None:
        super().__init__(wide, narrow, KERNEL, stride=2, padding=1, bias=False)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if input.device.type != "cpu":
            return super().forward(input)
        return _plus(_Double.apply(*_in_autocast_type(input, self.weight)), self.bias)


class NearestDouble(nn.ConvTranspose2d):
    """`(N, C, s, s)` → `(N, C', 2s, 2s)`: repeat each pixel 2×2, then a 3×3 convolution, padding 1.

    The weight is `(C, C', 3, 3)`, that of a transposed convolution with stride 1: flipped, with the
    channels exchanged, it is the 3×3 kernel of `nn.Conv2d`. Repeating pixels is a transposed
    convolution of a 2×2 square of ones, so both are one 4×4 transposed convolution with stride 2,
    with 4 instead of 9 products for a pixel and channel (Odena et al. 2016, "Deconvolution and
    Checkerboard Artifacts").
    """

    def __init__(self, wide: int, narrow: int) -> None:
        super().__init__(wide, narrow, 3, stride=1, padding=1, bias=False)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        kernel = summed_over_shifts(self.weight)
        if input.device.type != "cpu":
            return F.conv_transpose2d(input, kernel, self.bias, stride=2, padding=1)
        return _plus(_Double.apply(*_in_autocast_type(input, kernel)), self.bias)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size=3, bias={self.bias is not None}"
        )


class Halve(_ShownAsTheLibrarys, nn.Conv2d):
    """`(N, C, s, s)` → `(N, C', s/2, s/2)` with even s: 4×4, stride 2, padding 1."""

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__(narrow, wide, KERNEL, stride=2, padding=1, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        if input.device.type != "cpu":
            return super().forward(input)
        return _plus(_Halve.apply(*_in_autocast_type(input, self.weight)), self.bias)


class Verdict(_ShownAsTheLibrarys, nn.Conv2d):
    """`(N, C, 4, 4)` → one float32 logit each, `(N, 1, 1, 1)`.

    Its product stays float32 under autocast: it costs nothing, and the losses depend on it.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 1, KERNEL, stride=1, padding=0, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        pixels = input.permute(0, 2, 3, 1).flatten(1).to(self.weight.dtype)
        with torch.autocast(input.device.type, enabled=False):
            return _plus((pixels @ as_matrix(self.weight).T).view(-1, 1, 1, 1), self.bias)


class _Halve(torch.autograd.Function):
    """`halve` with gradients from the functions below."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(images, weight)
        return halve(images, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        images, weight = ctx.saved_tensors
        for_images, for_weight = ctx.needs_input_grad
        return (
            _Double.apply(gradient, weight) if for_images else None,
            weight_gradient(images, gradient, weight) if for_weight else None,
        )


class _Double(torch.autograd.Function):
    """`double` with gradients from the functions below."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(images, weight)
        return double(images, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        images, weight = ctx.saved_tensors
        for_images, for_weight = ctx.needs_input_grad
        return (
            _Halve.apply(gradient, weight) if for_images else None,
            weight_gradient(gradient, images, weight) if for_weight else None,
        )


def halve(images: Tensor, weight: Tensor) -> Tensor:
    """`(N, narrow, 2s, 2s)`, `(wide, narrow, 4, 4)` → `(N, wide, s, s)`"""
    return F.conv2d(images, weight, stride=2, padding=1)


def double(images: Tensor, weight: Tensor) -> Tensor:
    """`(N, wide, s, s)`, `(wide, narrow, 4, 4)` → `(N, narrow, 2s, 2s)`: transpose of `halve`"""
    narrow = weight.shape[1]
    if narrow > FEW_CHANNELS:
        return F.conv_transpose2d(images, weight, stride=2, padding=1)
    # Pixel i's tap y belongs to row 2i + y of the result with its border. With y = 2a + p that is
    # row p of the block i + a. So all 2×2 pixels of a block are channels of one 2×2 convolution.
    taps = weight.unflatten(3, (2, 2)).unflatten(2, (2, 2))  # wide, narrow, a, p, b, q
    taps = taps.permute(3, 5, 1, 0, 2, 4).flatten(0, 2)  # (p·q·narrow, wide, a, b)
    blocks = F.conv2d(images, _channels_last(taps.flip(2, 3)), padding=1)
    blocks = blocks.unflatten(1, (2, 2, narrow)).permute(0, 4, 1, 5, 2, 3)  # n, i, p, j, q, narrow
    bordered = blocks.flatten(3, 4).flatten(1, 2)
    return _channels_last(bordered[:, 1:-1, 1:-1].permute(0, 3, 1, 2))


def summed_over_shifts(weight: Tensor) -> Tensor:
    """`(A, B, 3, 3)` → `(A, B, 4, 4)`: the sum of a kernel at its four places in the larger one."""
    one = torch.eye(9, device=weight.device, dtype=weight.dtype).view(9, 3, 3)
    rows = F.pad(one, (0, 0, 0, 1)) + F.pad(one, (0, 0, 1, 0))
    places = (F.pad(rows, (0, 1)) + F.pad(rows, (1, 0))).flatten(1).T  # (16, 9)
    with torch.autocast(weight.device.type, enabled=False):  # a sum must not be rounded twice
        # Not pads of the weight: one product reads and writes it once.
        taps = places @ weight.permute(0, 2, 3, 1).flatten(1, 2)  # (A, 16, B)
    kernel: Tensor = taps.unflatten(1, (4, 4)).permute(0, 3, 1, 2)
    return kernel


def weight_gradient(large: Tensor, small: Tensor, weight: Tensor) -> Tensor:
    """The gradient of Σ `halve(large, weight)` · `small` by the weight.

    Large images are `(N, narrow, 2s, 2s)`, small ones `(N, wide, s, s)`.
    """
    if small.shape[-1] > SMALL_SIDE:
        by_library: Tensor = conv2d_weight(large, weight.shape, small, stride=2, padding=1)
        return by_library
    padded = _channels_last(F.pad(large, (1, 1, 1, 1)))
    # The 4×4 window that each small pixel sees: (N, narrow, s, s, 4, 4) → (N·s·s, 4·4·narrow).
    windows = padded.unfold(2, KERNEL, 2).unfold(3, KERNEL, 2)
    windows = windows.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(0, 2)
    pixels = small.permute(0, 2, 3, 1).flatten(0, 2)  # (N·s·s, wide)
    taps = (pixels.T @ windows).view(-1, KERNEL, KERNEL, large.shape[1])
    return taps.permute(0, 3, 1, 2)


def _in_autocast_type(*tensors: Tensor) -> list[Tensor]:
    """Cast float32 as autocast does before a convolution; it does not look into our functions."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return list(tensors)
    kind = torch.get_autocast_dtype(device)
    return [it.to(kind) if it.dtype == torch.float32 else it for it in tensors]


def _channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def _plus(images: Tensor, bias: Tensor | None) -> Tensor:
    """Add a channel's bias, which only a layer with a folded BatchNorm has."""
    return images if bias is None else images + bias.view(-1, 1, 1)


def as_matrix(weight: Tensor) -> Tensor:
    """`(A, B, k, k)` → `(A, k·k·B)`; a view of channels-last memory."""
    return weight.permute(0, 2, 3, 1).flatten(1)
