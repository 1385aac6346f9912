"""Images from a generator in eval mode: of fixed noise, of a seed, along a walk through noise."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from PIL import Image
from torch import Tensor

from dcgan.data.pixels import to_uint8
from dcgan.models.networks import Generator, sample_noise, without_batchnorm
from dcgan.runtime.numerics import full_float32
from dcgan.runtime.pictures import grid_scale, image_grid
from dcgan.runtime.seeds import make_rng

GRID_IMAGES = 64
SCORING_BATCH = 32
"""Images generated at once. Not a setting: it changes the last digits of every score."""


def fixed_noise(nz: int, count: int = GRID_IMAGES, seed: int | None = None) -> Tensor:
    """The noise `(count, nz, 1, 1)` behind every fixed-noise grid (CPU, the same in every run)."""
    return sample_noise(count, nz, make_rng("cpu", "grid" if seed is None else f"seed {seed}"))


@torch.no_grad()
def render(generator: Generator, noise: Tensor, batch_size: int = 64) -> Tensor:
    """uint8 images `(N, 3, S, S)` of a generator in eval mode, on the CPU."""
    device = next(generator.parameters()).device
    return torch.cat(
        [to_uint8(generator(part.to(device))).cpu() for part in noise.split(batch_size)]
    )


def latent_walk(
    generator: Generator, seed: int, stops: int = 6, frames: int = 12
) -> list[Image.Image]:
    """Frames of 16 closed walks through noise space, by spherical interpolation.

    This keeps noise as long as a typical sample (White 2016, arXiv:1609.04468).
    """
    rng = make_rng("cpu", f"walk {seed}")
    anchors = [sample_noise(16, generator.nz, rng) for _ in range(stops)]
    pictures = []
    for start, end in zip(anchors, [*anchors[1:], anchors[0]], strict=True):
        for frame in range(frames):
            images = render(generator, slerp(start, end, frame / frames))
            pictures.append(image_grid(images, columns=4, scale=grid_scale(images.shape[-1])))
    return pictures


def slerp(start: Tensor, end: Tensor, fraction: float) -> Tensor:
    """Interpolate noise `(N, nz, 1, 1)` along the great circle between two samples."""
    cosine = torch.nn.functional.cosine_similarity(start, end, dim=1, eps=1e-12)
    # (N, 1, 1, 1); kept away from 0 and π, where the division below fails.
    angle = torch.acos(cosine.clamp(-0.9995, 0.9995)).unsqueeze(1)
    from_start = torch.sin((1 - fraction) * angle) / torch.sin(angle)
    from_end = torch.sin(fraction * angle) / torch.sin(angle)
    return from_start * start + from_end * end


@torch.no_grad()
def generate_images(generator: Generator, count: int, seed: int | None = None) -> Iterator[Tensor]:
    """Yield uint8 batches `(≤ SCORING_BATCH, 3, S, S)` from the fixed noise, or from a seed's.

    The generator must be in eval mode. Image i has the same bits for every count: rounding depends
    on the batch size, so all batches have one size and the surplus of the last one is dropped.
    """
    device = next(generator.parameters()).device
    network = without_batchnorm(generator)
    rng = make_rng("cpu", "evaluation" if seed is None else f"seed {seed}")
    for start in range(0, count, SCORING_BATCH):
        noise = sample_noise(SCORING_BATCH, generator.nz, rng).to(device)
        with full_float32(device):
            images = network(noise)
        yield to_uint8(images)[: count - start]
