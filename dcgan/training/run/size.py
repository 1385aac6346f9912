"""The most disk space a run takes, from its config."""

from __future__ import annotations

from collections.abc import Callable

import torch

from dcgan.config.train_config import TrainConfig
from dcgan.models.networks import build_networks, parameter_count
from dcgan.models.sampling import GRID_IMAGES
from dcgan.training.run.pictures import MAX_FRAMES
from dcgan.training.schedule import Schedule

BYTES_A_TENSOR = 400
"""Overhead of torch's file format for each tensor (measured)."""
BYTES_A_STEP = 20
"""Five float32 losses."""
BYTES_A_LOG = 1000
"""A log record in the history or in MLflow's database (measured, rounded up)."""
BYTES_A_FRAME = 350_000
"""A frame of the animation (measured)."""
CLOSING_GRIDS = 8
"""Size of the final pictures without the animation, in grids (measured)."""


def checkpoint_bytes(config: TrainConfig, steps: int) -> int:
    """Size of a checkpoint: both networks, the moving average, Adam's two means, losses."""
    with torch.device("meta"):  # sizes without memory
        generator, discriminator = build_networks(config)
    size, tensors = BYTES_A_STEP * steps, 0
    for network in (generator, generator, discriminator):
        state = network.state_dict().values()
        size += sum(item.numel() * item.element_size() for item in state)
        tensors += len(state)
    for network in (generator, discriminator):
        size += 2 * 4 * parameter_count(network)
        tensors += 3 * len(list(network.parameters()))
    return size + BYTES_A_TENSOR * tensors


def checkpoints_kept(schedule: Schedule) -> int:
    """How many checkpoints a run keeps at most: the last, and the best if it is another."""
    return min(2, sum(map(schedule.eval_due, range(1, schedule.total_steps + 1))))


def kept_bytes(
    config: TrainConfig, schedule: Schedule, picture_due: Callable[[int], bool]
) -> float:
    """What a complete run keeps in its folder, or in MLflow, apart from checkpoints.

    `picture_due` tells whether the grid after a number of steps is kept there.
    """
    steps = range(schedule.total_steps + 1)
    pictures = sum(map(picture_due, steps)) + CLOSING_GRIDS
    frames = min(sum(map(schedule.grid_due, steps)), MAX_FRAMES)
    logs = sum(map(schedule.log_due, steps))
    picture = 1.2 * GRID_IMAGES * 3 * config.data.image_size**2  # noise hardly compresses
    return pictures * picture + frames * BYTES_A_FRAME + logs * BYTES_A_LOG


def run_bytes(config: TrainConfig, schedule: Schedule) -> float:
    """What a run's folder takes at most, with a checkpoint that is about to be replaced."""
    count = checkpoints_kept(schedule) + 1
    checkpoints = count * checkpoint_bytes(config, schedule.total_steps)
    return checkpoints + kept_bytes(config, schedule, schedule.grid_due)
