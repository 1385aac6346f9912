"""Trainings in several processes at the same time, and what they do together."""

from __future__ import annotations

import multiprocessing
import time
from typing import Any

import torch

from benchmarks.lib.machine import peak_mib, synchronise
from benchmarks.lib.our_loop import our_loop, steps_to_warm_up
from dcgan.config.train_config import TrainConfig
from dcgan.runtime.numerics import numerics

PATIENCE_SECONDS = 240.0
"""Beyond the seconds of training: imports, recording, one process after the other."""


def measure(config: TrainConfig, count: int, seconds: float) -> dict[str, Any]:
    """Train in `count` processes at once: images per second of all, peak MiB of the largest."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(count)
    with context.Pool(count, initializer=_keep, initargs=(ready,)) as pool:
        jobs = [pool.apply_async(_train, (config, seconds)) for _ in range(count)]
        results = [job.get(seconds + PATIENCE_SECONDS) for job in jobs]
    return {
        "threads_each": config.train.threads,
        "images_per_second": round(sum(rate for rate, _ in results), 1),
        "mib_each": max(mib for _, mib in results),
    }


def _keep(ready: Any) -> None:
    global _ready
    _ready = ready


def _train(config: TrainConfig, seconds: float) -> tuple[float, float]:
    device = torch.device(config.train.device)
    with numerics(config.train):
        loop = our_loop(config, device)
        try:
            for _ in range(steps_to_warm_up(config, device)):
                next(loop)
            synchronise(device)
        except BaseException:
            _ready.abort()  # the others must not wait for this process
            raise
        _ready.wait()
        start, images = time.perf_counter(), 0
        while time.perf_counter() < start + seconds:
            images += next(loop)
        synchronise(device)
        return images / (time.perf_counter() - start), peak_mib(device)
