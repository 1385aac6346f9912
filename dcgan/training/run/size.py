"""How much disk space a run takes at most, from its config alone: nothing is trained for it."""

from __future__ import annotations

import torch
from torch import nn

from dcgan.config.train_config import TrainConfig
from dcgan.models.networks import Discriminator, Generator, parameter_count
from dcgan.models.sampling import GRID_IMAGES
from dcgan.training.run.pictures import MAX_FRAMES
from dcgan.training.schedule import Schedule

BYTES_A_TENSOR = 400
"""What torch's file format adds to each tensor (measured)."""
BYTES_A_STEP = 20
"""Five float32 losses."""
BYTES_A_LOG = 1000
"""A log record in the history (measured, rounded up)."""
BYTES_A_FRAME = 350_000
"""A frame of the animation (measured)."""
CLOSING_GRIDS = 8
"""What the pictures that end a run take, animation apart, in grids (measured)."""


def checkpoint_bytes(config: TrainConfig, steps: int) -> int:
    """Size of a run's checkpoint: both networks, the moving average, Adam's two means, losses."""
    model, side = config.model, config.data.image_size
    with torch.device("meta"):  # sizes without memory
        generator = Generator(model.nz, model.ngf, side)
        discriminator = Discriminator(model.ndf, side, model.leaky_slope)
    networks = (generator, generator, discriminator)
    size, tensors = sum(map(_state_bytes, networks)), sum(len(n.state_dict()) for n in networks)
    for network in (generator, discriminator):
        size += 2 * 4 * parameter_count(network)
        tensors += 3 * len(list(network.parameters()))
    return size + BYTES_A_TENSOR * tensors + BYTES_A_STEP * steps


def grid_bytes(config: TrainConfig) -> float:
    """Size of one picture of 64 samples. Noise hardly compresses."""
    return 1.2 * GRID_IMAGES * 3 * config.data.image_size**2


def closing_bytes(config: TrainConfig, schedule: Schedule) -> float:
    """Size of the pictures that end a run, with the animation of its grids."""
    grids = sum(schedule.grid_due(done) for done in range(schedule.total_steps + 1))
    return CLOSING_GRIDS * grid_bytes(config) + min(grids, MAX_FRAMES) * BYTES_A_FRAME


def folder_bytes(config: TrainConfig, schedule: Schedule) -> float:
    """What a complete run's folder holds apart from its checkpoint."""
    steps = range(schedule.total_steps + 1)
    grids = sum(schedule.grid_due(done) for done in steps)
    logs = sum(schedule.log_due(done) for done in steps)
    return grids * grid_bytes(config) + closing_bytes(config, schedule) + BYTES_A_LOG * logs


def run_bytes(config: TrainConfig, schedule: Schedule) -> float:
    """What a run's folder takes at most: an old checkpoint stays until the new one is written."""
    return 2 * checkpoint_bytes(config, schedule.total_steps) + folder_bytes(config, schedule)


def _state_bytes(network: nn.Module) -> int:
    return sum(item.numel() * item.element_size() for item in network.state_dict().values())
