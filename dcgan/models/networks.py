"""The DCGAN pair (Radford et al. 2016, arXiv:1511.06434) for square images of 32, 64 or 128 pixels.

Both networks have one more stage for each doubling of the image side. Channels halve with each
stage towards the image. Weights and images are channels-last in memory, which is faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dcgan.config.train_config import TrainConfig
from dcgan.models.convolutions import Double, Halve, NearestDouble, Project, Verdict
from dcgan.models.projected import Mixer, ProjectedDiscriminator
from dcgan.models.spectral import SpectralConv

WEIGHT_STD = 0.02


def hidden_stages(image_size: int) -> int:
    """Number of hidden feature maps: 3, 4, 5 for 32, 64, 128 pixels."""
    return image_size.bit_length() - 3


class Generator(nn.Sequential):
    """Noise `(N, nz, 1, 1)` → images `(N, 3, S, S)` in [-1, 1]."""

    def __init__(
        self, nz: int, ngf: int, image_size: int = 64, upsample: str = "transposed"
    ) -> None:
        self.nz = nz
        double = NearestDouble if upsample == "nearest" else Double
        channels = [ngf * 2**stage for stage in reversed(range(hidden_stages(image_size)))]
        layers: list[nn.Module] = [
            Project(nz, channels[0]),  # 1 → 4
            nn.BatchNorm2d(channels[0]),
            nn.ReLU(inplace=True),
        ]
        for wide, narrow in pairwise(channels):
            layers += [
                double(wide, narrow),  # s → 2s
                nn.BatchNorm2d(narrow),
                nn.ReLU(inplace=True),
            ]
        layers += [double(channels[-1], 3), nn.Tanh()]  # S/2 → S
        super().__init__(*layers)
        self.to(memory_format=torch.channels_last)


class Discriminator(nn.Sequential):
    """Images `(N, 3, S, S)` in [-1, 1] → logits `(N,)`; above 0 means "looks real"."""

    def __init__(self, ndf: int, image_size: int = 64, leaky_slope: float = 0.1) -> None:
        channels = [ndf * 2**stage for stage in range(hidden_stages(image_size))]
        layers: list[nn.Module] = [
            Halve(3, channels[0]),  # S → S/2
            nn.LeakyReLU(leaky_slope, inplace=True),
        ]
        for narrow, wide in pairwise(channels):
            layers += [
                Halve(narrow, wide),  # s → s/2
                nn.BatchNorm2d(wide),
                nn.LeakyReLU(leaky_slope, inplace=True),
            ]
        layers += [Verdict(channels[-1]), nn.Flatten(0)]  # 4 → 1
        super().__init__(*layers)
        self.to(memory_format=torch.channels_last)

    def look(self, images: Tensor) -> tuple[Tensor, ...]:
        """The images themselves: `judge` is the whole network."""
        return (images,)

    def judge(self, seen: Sequence[Tensor]) -> Tensor:
        """What `look` returned → logits `(N,)`."""
        logits: Tensor = self(*seen)
        return logits


AnyDiscriminator: TypeAlias = Discriminator | ProjectedDiscriminator


def build_networks(config: TrainConfig) -> tuple[Generator, AnyDiscriminator]:
    """The two networks of a config, on the current default device, not yet initialised.

    Raises `WeightsError` if a pretrained network of the discriminator is not installed.
    """
    return build_generator(config), build_discriminator(config)


def build_generator(config: TrainConfig) -> Generator:
    """The generator of a config, not yet initialised."""
    model = config.model
    return Generator(model.nz, model.ngf, config.data.image_size, model.upsample)


def build_discriminator(config: TrainConfig) -> AnyDiscriminator:
    """The discriminator of a config, not yet initialised."""
    model, size = config.model, config.data.image_size
    own = Discriminator(model.ndf, size, model.leaky_slope)
    if model.discriminator == "dcgan":
        return own
    precision = torch.bfloat16 if config.train.precision == "bf16" else None
    of_pixels = own if config.projected.pixels else None
    return ProjectedDiscriminator(config.projected, size, of_pixels, precision)


def initialise(network: nn.Module, rng: torch.Generator) -> None:
    """Draw every convolution's weights from N(0, 0.02²) with a CPU generator.

    BatchNorm keeps PyTorch's scale 1 and shift 0, as in the published recipe, whose initialiser
    tests for a class name that never matches.
    """
    for module in network.modules():
        if isinstance(module, SpectralConv):
            module.initialise(WEIGHT_STD, rng)
        elif isinstance(module, Mixer):
            module.initialise(rng)
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            # Drawn in index order, because the order in memory depends on the memory format.
            drawn = torch.empty(module.weight.shape).normal_(0.0, WEIGHT_STD, generator=rng)
            with torch.no_grad():
                module.weight.copy_(drawn)


def without_batchnorm(generator: Generator) -> nn.Sequential:
    """A faster network that equals the generator in eval mode, up to rounding.

    The scale and shift of each BatchNorm are folded into the convolution before it.
    """
    layers: list[nn.Module] = []
    for layer in generator:
        if isinstance(layer, nn.BatchNorm2d):
            convolution = layers[-1]
            assert isinstance(convolution, nn.ConvTranspose2d)
            layers[-1] = fuse_conv_bn_eval(convolution, layer, transpose=True)
        else:
            layers.append(layer)
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def parameter_count(network: nn.Module) -> int:
    """Number of trained values."""
    return sum(parameter.numel() for parameter in network.parameters())


def sample_noise(count: int, nz: int, rng: torch.Generator) -> Tensor:
    """Standard normal noise `(count, nz, 1, 1)` on the generator's device."""
    return torch.randn(count, nz, 1, 1, generator=rng, device=rng.device)
