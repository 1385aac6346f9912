"""EfficientNet-Lite0, 1 and 2: networks that know ImageNet's 1,000 classes.

Tan & Le 2019, "EfficientNet" (arXiv:1905.11946); the Lite variants are Google's, of 2020: ReLU6 and
no squeeze-and-excitation. Parameters have the names of the published PyTorch weights (see
`pretrained`). Everything is differentiable with respect to the images.
"""

from __future__ import annotations

import copy
import math
from typing import Literal, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Variant: TypeAlias = Literal["lite0", "lite1", "lite2"]
SCALES: dict[Variant, tuple[float, float]] = {
    "lite0": (1.0, 1.0),
    "lite1": (1.0, 1.1),
    "lite2": (1.1, 1.2),
}
"""Width and depth relative to Lite0."""
STAGES = (
    # repeats, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Of Lite0. The first and the last stage are never repeated more often."""
STEM_CHANNELS, HEAD_CHANNELS, CLASSES = 32, 1280, 1000
MAP_STAGES = (1, 2, 4, 6)
"""The last stages at strides 4, 8, 16 and 32."""
EPSILON = 1e-3
MEAN, SCALE = 127.0, 128.0
"""The networks were trained on (pixel - MEAN) / SCALE with pixels from 0 to 255."""
MIN_SIDE = 32
"""The last map of a smaller image would be a single field that is mostly padding."""


class Seen(NamedTuple):
    """What a network gives for a batch of images."""

    block: Tensor
    """(N, 320; Lite2: 352): the last block's map, averaged over the image."""
    head: Tensor
    """(N, 1280), >= 0 and <= 6: the features that the classes are read from."""
    logits: Tensor
    """(N, 1000), one for each class of ImageNet."""


class SameConv(nn.Conv2d):
    """A convolution padded as in TensorFlow: the output's side is ceil(side / stride).

    With stride 2 and an even side there is one more zero after the image than before it.
    """

    def forward(self, images: Tensor) -> Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        height, width = (
            max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
            for side in images.shape[2:]
        )
        kind = images.dtype
        if self.groups > 1 and stride > 1 and images.device.type == "cpu":
            # There the library's gradient is far slower in bfloat16.
            images = images.to(torch.promote_types(kind, torch.float32))
        padding = (height // 2, width // 2)
        if height % 2 or width % 2:
            images = F.pad(
                images, (padding[1], width - padding[1], padding[0], height - padding[0])
            )
            padding = (0, 0)
        weight, bias = (None if it is None else it.to(images) for it in (self.weight, self.bias))
        assert weight is not None
        return F.conv2d(images, weight, bias, stride, padding, 1, self.groups).to(kind)


class Block(nn.Module):
    """Widen, filter each channel, narrow; added to its input where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expands, self.adds = expansion > 1, stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = SameConv(inputs, inner, 1, bias=False)
            self._bn0: nn.Module = nn.BatchNorm2d(inner, EPSILON)
        self._depthwise_conv = SameConv(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1: nn.Module = nn.BatchNorm2d(inner, EPSILON)
        self._project_conv = SameConv(inner, outputs, 1, bias=False)
        self._bn2: nn.Module = nn.BatchNorm2d(outputs, EPSILON)

    def forward(self, images: Tensor) -> Tensor:
        inner = images
        if self.expands:
            inner = _relu6(self._bn0(self._expand_conv(inner)))
        inner = _relu6(self._bn1(self._depthwise_conv(inner)))
        outputs: Tensor = self._bn2(self._project_conv(inner))
        return outputs.add_(images) if self.adds else outputs


class EfficientNetLite(nn.Module):
    """One of the networks, with random weights. Images are float (N, 3, H, W) of `as_trained`."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        width, depth = SCALES[variant]
        self._conv_stem = SameConv(3, STEM_CHANNELS, 3, 2, bias=False)
        self._bn0: nn.Module = nn.BatchNorm2d(STEM_CHANNELS, EPSILON)
        blocks, before = list[Block](), STEM_CHANNELS
        self.map_channels: list[int] = []
        """Channels of each of `maps`."""
        self.ends: list[int] = []
        """Number of blocks before the end of each of `MAP_STAGES`."""
        for stage, (repeats, kernel, stride, expansion, channels) in enumerate(STAGES):
            after = _rounded(channels * width)
            if 0 < stage < len(STAGES) - 1:
                repeats = math.ceil(repeats * depth)
            for repeat in range(repeats):
                blocks.append(Block(before, after, kernel, 1 if repeat else stride, expansion))
                before = after
            if stage in MAP_STAGES:
                self.map_channels.append(after)
                self.ends.append(len(blocks))
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SameConv(before, HEAD_CHANNELS, 1, bias=False)
        self._bn1: nn.Module = nn.BatchNorm2d(HEAD_CHANNELS, EPSILON)
        self._fc = nn.Linear(HEAD_CHANNELS, CLASSES)
        self.head_channels = HEAD_CHANNELS

    def maps(self, images: Tensor) -> list[Tensor]:
        """The last maps at strides 4, 8, 16 and 32, each (N, `map_channels`, H / s, W / s).

        Sides are rounded up.
        """
        found, stage = [], _relu6(self._bn0(self._conv_stem(images)))
        for number, block in enumerate(self._blocks, 1):
            stage = block(stage)
            if number in self.ends:
                found.append(stage)
        return found

    def forward(self, images: Tensor) -> Seen:
        """Features and logits."""
        last = self.maps(images)[-1]
        head = _relu6(self._bn1(self._conv_head(last))).mean(dim=(2, 3))
        return Seen(last.mean(dim=(2, 3)), head, self._fc(head))


def as_trained(pixels: Tensor) -> Tensor:
    """Scale float pixels, 0 to 255, as in the networks' own training."""
    return (pixels - MEAN) / SCALE


def resized(pixels: Tensor, side: int) -> Tensor:
    """Resize float (N, 3, H, W) to a square of `side` pixels: bicubic, as the authors did it.

    It is antialiased where it shrinks. Pixels may leave the range of the input a little.
    """
    if pixels.shape[2:] == (side, side):
        return pixels
    return F.interpolate(pixels, (side, side), mode="bicubic", antialias=True)


def folded(network: EfficientNetLite) -> EfficientNetLite:
    """A copy in eval mode whose convolutions contain their BatchNorm: the same outputs, sooner."""
    copied = copy.deepcopy(network).eval()
    _fold(copied, "_conv_stem", "_bn0")
    _fold(copied, "_conv_head", "_bn1")
    for block in copied._blocks:
        pairs = [("_expand_conv", "_bn0")] if block.expands else []
        for convolution, norm in [*pairs, ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]:
            _fold(block, convolution, norm)
    return copied


@torch.no_grad()
def _fold(module: nn.Module, convolution: str, norm: str) -> None:
    """Scale a convolution like the BatchNorm after it, which goes."""
    conv, bn = getattr(module, convolution), getattr(module, norm)
    factor = bn.weight.double() / (bn.running_var.double() + bn.eps).sqrt()
    weight = (conv.weight.double() * factor[:, None, None, None]).to(conv.weight.dtype)
    bias = (bn.bias.double() - bn.running_mean.double() * factor).to(conv.weight.dtype)
    conv.weight, conv.bias = nn.Parameter(weight), nn.Parameter(bias)
    setattr(module, norm, nn.Identity())


def _relu6(images: Tensor) -> Tensor:
    """In place: the output of a convolution or BatchNorm, which neither needs for its gradient."""
    return F.relu6(images, inplace=True)


def _rounded(channels: float) -> int:
    """To a multiple of 8, the nearest one unless that takes away more than a tenth."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near
