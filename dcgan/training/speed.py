"""How fast a config trains here, and with how many CPU threads: found by training for a moment.

The number of processors is no good guide: some are halves of a core, other programs keep some of
them busy, and small networks keep few threads at work.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig
from dcgan.runtime.devices import clear_memory_errors, processors, resolve_device
from dcgan.runtime.numerics import numerics
from dcgan.training.step import TrainState, training_step

WORTH_IT = 1.05
"""Twice as many threads must be at least so many times as fast, or they are left to others."""
MEASURED_STEPS = 3


def images_per_second(config: TrainConfig, threads: int | None = None) -> float:
    """The speed of the fastest of a few steps: what other programs did meanwhile does not count.

    Throw-away networks are trained on grey images; no photo is read.

    Args:
        threads: CPU threads; the config's own `train.threads` if left out.
    """
    if threads is not None:
        config = override(config, {"train.threads": threads}, "train.threads")
    size, count = config.data.image_size, config.train.batch_size
    device = resolve_device(config.train.device)
    seconds = []
    with numerics(config.train), clear_memory_errors():
        photos = torch.full((count, 3, size, size), 127, dtype=torch.uint8, device=device)
        state = TrainState.fresh(config, device)
        for _ in range(1 + MEASURED_STEPS):
            start = time.perf_counter()
            float(training_step(state, photos, config)[0])  # waits for the device
            seconds.append(time.perf_counter() - start)
    return count / min(seconds[1:])  # the first step allocates


def fastest_threads(
    config: TrainConfig,
    limit: int | None = None,
    measure: Callable[[TrainConfig, int], float] = images_per_second,
) -> tuple[int, dict[int, float]]:
    """Train a few steps with 1, 2, 4, … threads for as long as that makes them quicker.

    The last digits of a step's numbers depend on the thread count: whoever needs numbers that
    repeat measures once and keeps the answer.

    Args:
        config: what will be trained; its own `train.threads` is ignored, its photos are not read.
        limit: the most threads that may be used; None: as many as processors.
        measure: gives the images/s of a config with a number of threads.

    Returns:
        The choice, and the images/s of each number tried.
    """
    limit = limit or processors()
    rates: dict[int, float] = {}
    best = threads = 1
    while threads <= limit:
        rates[threads] = measure(config, threads)
        if threads > 1 and rates[threads] < WORTH_IT * rates[best]:
            break
        best = threads
        threads = limit if threads < limit < 2 * threads else 2 * threads
    return best, rates
