"""The DCGAN pair (Radford et al. 2016, arXiv:1511.06434) for square images of 32, 64 or 128 pixels.

Both networks grow one stage a doubling of the image side. Channels halve towards the image in the
generator and double away from it in the discriminator, as in the published 64×64 networks.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

WEIGHT_STD = 0.02


def hidden_stages(image_size: int) -> int:
    """Number of hidden feature maps: 3, 4, 5 for 32, 64, 128 pixels."""
    return image_size.bit_length() - 3


class Generator(nn.Sequential):
    """Noise `(N, nz, 1, 1)` → images `(N, 3, S, S)` in [-1, 1]."""

    def __init__(self, nz: int, ngf: int, image_size: int = 64) -> None:
        self.nz = nz
        channels = [ngf * 2**stage for stage in reversed(range(hidden_stages(image_size)))]
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(nz, channels[0], 4, stride=1, padding=0, bias=False),  # 1 → 4
            nn.BatchNorm2d(channels[0]),
            nn.ReLU(inplace=True),
        ]
        for wide, narrow in pairwise(channels):
            layers += [
                nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1, bias=False),  # s → 2s
                nn.BatchNorm2d(narrow),
                nn.ReLU(inplace=True),
            ]
        layers += [
            nn.ConvTranspose2d(channels[-1], 3, 4, stride=2, padding=1, bias=False),  # S/2 → S
            nn.Tanh(),
        ]
        super().__init__(*layers)


class Discriminator(nn.Sequential):
    """Images `(N, 3, S, S)` in [-1, 1] → logits `(N,)`; above 0 means "looks real"."""

    def __init__(self, ndf: int, image_size: int = 64, leaky_slope: float = 0.1) -> None:
        channels = [ndf * 2**stage for stage in range(hidden_stages(image_size))]
        layers: list[nn.Module] = [
            nn.Conv2d(3, channels[0], 4, stride=2, padding=1, bias=False),  # S → S/2
            nn.LeakyReLU(leaky_slope, inplace=True),
        ]
        for narrow, wide in pairwise(channels):
            layers += [
                nn.Conv2d(narrow, wide, 4, stride=2, padding=1, bias=False),  # s → s/2
                nn.BatchNorm2d(wide),
                nn.LeakyReLU(leaky_slope, inplace=True),
            ]
        layers += [
            nn.Conv2d(channels[-1], 1, 4, stride=1, padding=0, bias=False),  # 4 → 1
            nn.Flatten(0),
        ]
        super().__init__(*layers)


def initialise(network: nn.Module, rng: torch.Generator) -> None:
    """Draw every convolution's weights from N(0, 0.02²) with a CPU generator.

    BatchNorm keeps PyTorch's defaults (scale 1, shift 0): the published recipe meant to draw the
    scales too, but its initialiser tests for a class name that never matches.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, WEIGHT_STD, generator=rng)


def parameter_count(network: nn.Module) -> int:
    """Number of trained values."""
    return sum(parameter.numel() for parameter in network.parameters())


def sample_noise(count: int, nz: int, rng: torch.Generator) -> Tensor:
    """Standard normal noise `(count, nz, 1, 1)` on the generator's device."""
    return torch.randn(count, nz, 1, 1, generator=rng, device=rng.device)
