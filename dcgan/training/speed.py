"""Measure how fast a config trains on this machine, and with how many CPU threads.

The number of processors is no good guide: some are halves of a core, other programs keep some of
them busy, and small networks keep few threads busy.
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
"""The least speed-up for which twice as many threads are used."""
MEASURED_STEPS = 3


def images_per_second(config: TrainConfig, threads: int | None = None) -> float:
    """The speed of the fastest of a few steps, which other programs slow down least.

    New networks are trained on grey images; no photo is read. `threads` replaces `train.threads`.
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
    """Train a few steps with 1, 2, 4, … threads while that makes them faster.

    Returns the choice, and the images/s that `measure` gives for each number tried, up to `limit`
    (default: the number of processors). `train.threads` is ignored. The last digits of a step's
    numbers depend on the thread count. If you need numbers that repeat, measure once and keep the
    answer.
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
