"""A discriminator that looks through a frozen network which already knows what photos show.

Sauer et al. 2021, "Projected GANs Converge Faster" (arXiv:2111.01007). A discriminator that learns
to see from a few hundred photos learns texture. Here EfficientNet-Lite1, trained on ImageNet, sees
for it: its maps at several scales are mixed by fixed random convolutions, and one small trained
head a scale tells real from generated maps.

The network that scores (EfficientNet-Lite0) is another one: a generator may learn what pleases one
network, so the network that trains must not judge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcgan.config.train_config import ProjectedConfig
from dcgan.models.efficientnet_lite import EfficientNetLite, Variant, as_trained
from dcgan.models.pretrained import load_pretrained
from dcgan.models.spectral import SpectralConv

VARIANT: Variant = "lite1"
"""The pretrained network. Lite0 scores, and Lite2 checks the scores (docs/recipes.md)."""
STRIDES = (4, 8, 16, 32)
"""Of the pretrained network's maps."""
SMALLEST_SIDE = 4
"""A head halves its map down to this side or less."""
LOGITS = 4
"""A head gives so many logits, or one, which is repeated."""
SLOPE = 0.2
"""Of the heads' LeakyReLU."""


class Mixer(nn.Module):
    """Fixed random convolutions: a 1×1 for each map, and a 3×3 from each mixed map to a finer one.

    Their weights are buffers: saved, but never trained.
    """

    def __init__(self, map_channels: Sequence[int], channels: int, mix: bool) -> None:
        super().__init__()
        self.count, self.mix = len(map_channels), mix
        for number, inputs in enumerate(map_channels):
            self.register_buffer(f"project_{number}", torch.zeros(channels, inputs, 1, 1))
            if mix and number:
                self.register_buffer(f"carry_{number}", torch.zeros(channels, channels, 3, 3))

    @torch.no_grad()
    def initialise(self, rng: torch.Generator) -> None:
        """Draw all weights with a CPU generator, so that outputs vary as much as inputs."""
        for weight in self.buffers():
            std = weight[0].numel() ** -0.5
            weight.copy_(torch.empty(weight.shape).normal_(0.0, std, generator=rng))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps from fine to coarse → as many with `channels` each. The coarsest is mixed first."""
        mixed: list[Tensor] = []
        for number in reversed(range(self.count)):
            here = F.conv2d(maps[number], self.get_buffer(f"project_{number}"))
            if self.mix and mixed:
                above = F.interpolate(mixed[0], here.shape[2:], mode="nearest")
                carried = F.conv2d(above, self.get_buffer(f"carry_{number + 1}"), padding=1)
                here = here + carried
            mixed.insert(0, here)
        return mixed


class Head(nn.Sequential):
    """A mixed map `(N, C, s, s)` → logits `(N, L)`; every convolution is normalised spectrally."""

    def __init__(self, channels: int, width: int, side: int) -> None:
        layers: list[nn.Module] = []
        while side > SMALLEST_SIDE or not layers:
            smaller = side > SMALLEST_SIDE
            shape = (4, 2, 1) if smaller else (3, 1, 1)  # s → s/2, or s → s
            layers += [
                SpectralConv(channels, width, *shape, bias=False),
                nn.BatchNorm2d(width),
                nn.LeakyReLU(SLOPE, inplace=True),
            ]
            channels, side = width, side // 2 if smaller else side
        layers += [SpectralConv(channels, 1, min(3, side)), nn.Flatten()]  # 4 → 2
        super().__init__(*layers)


class ProjectedDiscriminator(nn.Module):
    """Images `(N, 3, S, S)` in [-1, 1] → logits `(N, L)`, several from each scale.

    `of_pixels` is a discriminator of the images themselves, which counts as much as a head: the
    pretrained network hardly sees colours and fine patterns (Kumari et al. 2022, "Ensembling
    Off-the-shelf Models for GAN Training", arXiv:2112.09130). The frozen part computes in
    `precision`; None: float32. The pretrained network is neither trained, nor saved, nor among the
    parameters. Raises `WeightsError` if it is not installed.
    """

    def __init__(
        self,
        config: ProjectedConfig,
        image_size: int,
        of_pixels: nn.Module | None = None,
        precision: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.side, self.scales = config.side or image_size, config.scales
        with torch.device("meta"):
            map_channels = EfficientNetLite(VARIANT).map_channels
        self.mixer = Mixer(map_channels, config.channels, config.mix).to(precision)
        sides = [-(-self.side // scale) for scale in config.scales]
        self.heads = nn.ModuleList(Head(config.channels, config.width, side) for side in sides)
        self.of_pixels = of_pixels
        # In a list, so that it is no submodule. On the device "meta", only sizes are asked for.
        meta = torch.get_default_device().type == "meta"
        self._pretrained = [] if meta else [load_pretrained(VARIANT).to(precision)]
        self.to(memory_format=torch.channels_last)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the pretrained network along with the other parts."""
        for network in self._pretrained:
            network._apply(fn, recurse)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def look(self, images: Tensor) -> list[Tensor]:
        """The images and their mixed maps. No trained weight has a part in them."""
        kind = self.mixer.get_buffer("project_0").dtype
        images = images.float().contiguous(memory_format=torch.channels_last)
        resized = images
        if images.shape[2:] != (self.side, self.side):
            resized = F.interpolate(images, (self.side, self.side), mode="bilinear")
        with torch.autocast(images.device.type, enabled=False):
            maps = self._pretrained[0].maps(as_trained((resized + 1) * 127.5).to(kind))
            mixed = dict(zip(STRIDES, self.mixer(maps), strict=True))
        return [images, *(mixed[scale] for scale in self.scales)]

    def judge(self, seen: Sequence[Tensor]) -> Tensor:
        """What `look` returned → logits `(N, L)`, float32."""
        images, *maps = seen
        logits = [head(it).float() for head, it in zip(self.heads, maps, strict=True)]
        if self.of_pixels is not None:
            logits.append(self.of_pixels(images).unsqueeze(1))
        return torch.cat([it.expand(-1, LOGITS) for it in logits], 1)  # all count alike

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images."""
        return self.judge(self.look(images))

    def extra_repr(self) -> str:
        return f"frozen: EfficientNet-{VARIANT.capitalize()} at {self.side} pixels"
