"""How many trainings at once get the most images per second out of one GPU.

Small networks leave most of a GPU idle, and trainings that share it fill the gaps. More of them
gain nothing once it is busy, and its memory may be full before.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig
from dcgan.errors import DcganError
from dcgan.runtime.devices import clear_memory_errors, processors, resolve_device
from dcgan.runtime.numerics import numerics
from dcgan.training.cuda_graphs import EAGER_STEPS, Stepper
from dcgan.training.schedule import Schedule
from dcgan.training.step import TrainState

COUNTS = (1, 2, 4, 8)
WORTH_IT = 1.05
"""The least speed-up for which twice as many trainings share a GPU."""
FULL = 0.8
"""The share of a GPU's memory beyond which no further training is tried: scoring takes some."""
SECONDS = 3.0
PATIENCE_SECONDS = 240.0
"""Beyond the seconds of training: imports, recording, one process after the other."""
STEPS_PER_EPOCH = 8
_ready: Any = None
"""In each process: where it waits until all of them train."""


@dataclass(frozen=True)
class Together:
    """What several trainings did at the same time."""

    images_per_second: float
    """Of all of them."""
    bytes_each: int
    """Peak memory of the largest: what torch held on a GPU, resident on a CPU."""
    used: float = 0.0
    """Share of the GPU's memory in use while they trained, whoever used it; 0 on a CPU."""


def best_packing(
    config: TrainConfig,
    measure: Callable[[TrainConfig, int], Together] | None = None,
) -> tuple[int, dict[int, float]]:
    """Train with 1, 2, 4, 8 processes on one GPU while that makes them faster together.

    Returns the number to use, and the images/s of each number that was tried. A number that fails,
    as for want of memory, ends the trying.
    """
    best, rates = 1, dict[int, float]()
    for count in COUNTS:
        try:
            found = (measure or train_together)(config, count)
        except (DcganError, RuntimeError, multiprocessing.TimeoutError):
            break
        rates[count] = found.images_per_second
        if count > 1 and rates[count] < WORTH_IT * rates[best]:
            break
        best = count
        if 2 * found.used > FULL:  # twice as many would take twice as much
            break
    return best, rates


def train_together(config: TrainConfig, count: int, seconds: float = SECONDS) -> Together:
    """Train new networks on grey images in `count` processes at once, for some seconds.

    If `train.threads` is not set, they share the processors. Raises what one of them raises.
    """
    if config.train.threads is None:
        share = max(1, processors() // count)
        config = override(config, {"train.threads": share}, "train.threads")
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(count)
    with context.Pool(count, initializer=_keep, initargs=(ready,)) as pool:
        jobs = [pool.apply_async(_train, (config, seconds)) for _ in range(count)]
        found = [job.get(seconds + PATIENCE_SECONDS) for job in jobs]
    return Together(
        images_per_second=sum(one.images_per_second for one in found),
        bytes_each=max(one.bytes_each for one in found),
        used=max(one.used for one in found),
    )


def _keep(ready: Any) -> None:
    global _ready
    _ready = ready


def _train(config: TrainConfig, seconds: float) -> Together:
    """What one process does: warm up, wait for the others, train."""
    with numerics(config.train), clear_memory_errors():
        try:
            device = resolve_device(config.train.device)
            epochs = _endless(config, device)
            for _ in range(1 + EAGER_STEPS // STEPS_PER_EPOCH):
                next(epochs)
        except BaseException:
            _ready.abort()  # the others must not wait for this process
            raise
        _ready.wait()
        start, images = time.perf_counter(), 0
        while time.perf_counter() < start + seconds:
            images += next(epochs)
        rate = images / (time.perf_counter() - start)
        return Together(rate, *_memory(device))


def _endless(config: TrainConfig, device: torch.device) -> Iterator[int]:
    """Train epoch after epoch; yields the images of each once the device has computed it."""
    count, size = STEPS_PER_EPOCH * config.train.batch_size, config.data.image_size
    photos = torch.full((count, 3, size, size), 127, dtype=torch.uint8, device=device)
    schedule = Schedule(config, count, device)
    stepper = Stepper(TrainState.fresh(config, device), photos, config)
    while True:
        for _ in range(STEPS_PER_EPOCH):
            losses = stepper.step(schedule.batch(stepper.state.step))
        losses.tolist()
        yield count


def _memory(device: torch.device) -> tuple[int, float]:
    if device.type != "cuda":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, 0.0
    free, total = torch.cuda.mem_get_info(device)
    return torch.cuda.max_memory_reserved(device), 1 - free / total
