"""How fast a config trains here, and with how many CPU threads: found by training for a moment.

The number of processors is no good guide: some are halves of a core, other programs keep some of
them busy, and small networks keep few threads at work.
"""

from __future__ import annotations

import time

import torch

from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig
from dcgan.data.bank import PhotoBank
from dcgan.runtime.devices import clear_memory_errors, processors, resolve_device
from dcgan.runtime.numerics import numerics
from dcgan.training.step import TrainState, training_step

WORTH_IT = 1.05
"""Twice as many threads must be at least so many times as fast, or they are left to others."""
MEASURED_STEPS = 3


def fastest_threads(config: TrainConfig, limit: int | None = None) -> tuple[int, dict[int, float]]:
    """Train a few steps with 1, 2, 4, … threads for as long as that makes them quicker.

    The step's numbers depend on the thread count (their last digits), so whoever wants them to
    repeat measures once and keeps the answer.

    Args:
        config: what will be trained; its own `train.threads` is ignored, its photos are not read.
        limit: the most threads that may be used; none: as many as processors.

    Returns:
        The choice, and the images/s of each number tried.
    """
    limit = limit or processors()
    rates: dict[int, float] = {}
    best = threads = 1
    while threads <= limit:
        rates[threads] = images_per_second(config, threads)
        if threads > 1 and rates[threads] < WORTH_IT * rates[best]:
            break
        best = threads
        threads = limit if threads < limit < 2 * threads else 2 * threads
    return best, rates


def images_per_second(config: TrainConfig, threads: int | None) -> float:
    """The fastest of a few steps: what other programs did meanwhile does not count."""
    config = override(config, {"train.threads": threads}, "train.threads")
    size, count = config.data.image_size, config.train.batch_size
    photos = torch.full((count, 3, size, size), 127, dtype=torch.uint8)
    seconds = []
    with numerics(config.train):
        state = TrainState.fresh(config, torch.device("cpu"))
        training_step(state, photos, config)  # allocations
        for _ in range(MEASURED_STEPS):
            start = time.perf_counter()
            training_step(state, photos, config)
            seconds.append(time.perf_counter() - start)
    return count / min(seconds)


def seconds_per_step(config: TrainConfig, bank: PhotoBank) -> float:
    """Measure a few real steps on throw-away networks."""
    device = resolve_device(config.train.device)
    with numerics(config.train), clear_memory_errors():
        state = TrainState.fresh(config, device)
        photos = bank.images[: config.train.batch_size].to(device)
        float(training_step(state, photos, config)[0])  # the first step allocates
        start = time.monotonic()
        for _ in range(MEASURED_STEPS):
            losses = training_step(state, photos, config)
        float(losses[0])  # waits for the device
        return (time.monotonic() - start) / MEASURED_STEPS
