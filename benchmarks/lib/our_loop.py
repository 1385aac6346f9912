"""This project's training step as an endless loop, and how much work one step is."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.flop_counter import FlopCounterMode

from dcgan.config.train_config import TrainConfig
from dcgan.data.bank import load_bank
from dcgan.training.cuda_graphs import EAGER_STEPS, Stepper
from dcgan.training.schedule import Schedule
from dcgan.training.step import TrainState, training_step


def our_loop(config: TrainConfig, device: torch.device) -> Iterator[int]:
    """Train on a bank in memory; yields the number of images of each step."""
    bank = load_bank(config.data)
    photos = bank.images.to(device)
    schedule = Schedule(config, len(photos), device)
    stepper = Stepper(TrainState.fresh(config, device), photos, config)
    losses = []
    while True:
        indices = schedule.batch(stepper.state.step)
        losses.append(stepper.step(indices))
        if len(losses) == config.train.log_every_steps:
            torch.stack(losses).tolist()
            losses.clear()
        yield len(indices)


def steps_to_warm_up(config: TrainConfig, device: torch.device) -> int:
    """Steps until memory is allocated and, on a GPU, both batch sizes are recorded."""
    if device.type == "cpu":
        return 2
    schedule = Schedule(config, len(load_bank(config.data).images), device)
    return (EAGER_STEPS + 2) * schedule.steps_per_epoch  # an epoch's last batch is the smaller one


def gflop_per_image(config: TrainConfig) -> float:
    """Billions of operations per image in a step's convolutions and matrix products.

    Counted on our step, which computes no gradient that is not needed.
    """
    state = TrainState.fresh(config, torch.device("cpu"))
    size = config.data.image_size
    photos = torch.zeros(2, 3, size, size, dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter:
        training_step(state, photos, config)
    return float(counter.get_total_flops() / len(photos) / 1e9)
