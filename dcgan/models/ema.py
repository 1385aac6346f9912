"""The exponential moving average of the generator, and BatchNorm statistics that fit it.

On a few hundred photos the quality of the last weights varies strongly between epochs; an average
over recent steps is stable. Its BatchNorm statistics must be measured again for its own weights.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from dcgan.models.networks import Generator, sample_noise
from dcgan.runtime.numerics import full_float32
from dcgan.runtime.seeds import make_rng

BATCHNORM_SAMPLES = 256
BATCHNORM_BATCH = 64


def ema_weight(batch_size: int, images_seen: int, half_life_images: int) -> float:
    """How far one step moves the average towards the current weights, in (0, 1].

    The half-life is at most a tenth of the images seen so far (`images_seen` includes this batch),
    so that the first, random weights are forgotten early. 0 means no averaging (weight 1).
    """
    half_life = min(float(half_life_images), images_seen / 10)
    return 1.0 if half_life <= 0 else 1.0 - 0.5 ** (batch_size / half_life)


@torch.no_grad()
def update_ema(average: nn.Module, current: nn.Module, weight: Tensor | float) -> None:
    """Move every parameter of `average` towards `current` by `weight`; copy the buffers.

    `weight` may be a 0-d tensor on the parameters' device. At 0 the average stays as it is if the
    current weights are finite.
    """
    for mean, value in zip(average.parameters(), current.parameters(), strict=True):
        mean.lerp_(value, weight)
    for kept, buffer in zip(average.buffers(), current.buffers(), strict=True):
        kept.copy_(buffer)


@torch.no_grad()
def with_fresh_batchnorm(generator: Generator) -> Generator:
    """A copy in eval mode whose BatchNorm statistics are measured on noise.

    The noise is the same at every call, so that equal weights give equal samples.
    """
    fresh = copy.deepcopy(generator)
    norms = [module for module in fresh.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches below
    device = next(fresh.parameters()).device
    rng = make_rng(device, "batchnorm")
    fresh.train()
    measured = nn.Sequential(*list(fresh)[: list(fresh).index(norms[-1]) + 1])
    with full_float32(device):
        for _ in range(BATCHNORM_SAMPLES // BATCHNORM_BATCH):
            measured(sample_noise(BATCHNORM_BATCH, fresh.nz, rng))
    return fresh.eval()
