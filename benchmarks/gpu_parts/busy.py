"""Section: the share of time in which the GPU works on our steps.

Two times of one epoch are compared. The first is what the GPU alone needs: a long product keeps it
occupied while the host queues the whole epoch behind it, so that CUDA events before and after the
epoch measure no wait for the host. The second is the wall time of an epoch in the loop as it
trains, with the order of photos, the copies of indices and the losses read back. The first divided
by the second is below 1 by the time in which the GPU waits for the host.

Between two kernels of a graph the GPU pauses for about a microsecond. How much of the wall time
kernels fill is shown too, from torch's profiler: the sum of their durations in one profiled epoch,
divided by the wall time of an epoch that is not profiled. This informs; it has no target.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_parts.report import Line, at_least
from benchmarks.gpu_parts.setup import LARGEST, Setup
from benchmarks.lib.our_loop import our_loop, steps_to_warm_up
from dcgan.config.train_config import TrainConfig
from dcgan.data.bank import load_bank
from dcgan.errors import first_line
from dcgan.runtime.numerics import numerics
from dcgan.training.cuda_graphs import Stepper
from dcgan.training.schedule import Schedule
from dcgan.training.step import TrainState

LEAST_SHARE = 90.0
WALL_SECONDS = 1.0
SIDE, PRODUCTS = 8192, 12
"""Rows of the square matrices whose products keep the GPU occupied, 1.1 TFLOP each, and how many:
at least 20 ms on a fast GPU, in which the host queues an epoch of some 20 steps."""


def busy(setup: Setup) -> Iterator[Line]:
    """The shares of the reference recipe and of the largest networks."""
    if setup.reduced:
        yield Line("share of time the GPU is busy", "not applicable on a CPU")
        return
    for network, changes in (("reference", {}), ("largest", LARGEST)):
        for batch in (32, 128):
            named = {key.replace(".", "__"): value for key, value in changes.items()}
            config = setup.config(**named, train__batch_size=batch)
            with numerics(config.train):
                yield from shares(f"{network}, batch {batch}", config)


def shares(case: str, config: TrainConfig) -> Iterator[Line]:
    """Compare the times of an epoch; the result is in percent of the wall time."""
    device = torch.device(config.train.device)
    photos = load_bank(config.data).images.to(device)
    schedule = Schedule(config, len(photos), device)
    stepper = Stepper(TrainState.fresh(config, device), photos, config)
    batches = [schedule.batch(step) for step in range(schedule.steps_per_epoch)]

    def epoch() -> list[Tensor]:
        return [stepper.step(indices) for indices in batches]

    for _ in range(steps_to_warm_up(config, device) // len(batches)):
        epoch()
    wall = wall_seconds(config, schedule.steps_per_epoch)
    share = 100 * gpu_seconds(epoch, device) / wall
    yield at_least(f"{case}: the GPU is busy", share, LEAST_SHARE, "%", applies=True)
    try:
        filled, kernels = kernel_seconds(epoch)
    except Exception as error:  # the profiler needs rights that containers may not give
        yield Line(f"{case}: kernels", f"the profiler does not work here ({first_line(error)})")
        return
    yield Line(f"{case}: kernels run", 100 * filled / wall, "%")
    yield Line(f"{case}: kernels a step", round(kernels / len(batches)))


def wall_seconds(config: TrainConfig, steps_per_epoch: int) -> float:
    """Wall time of an epoch in the loop as it trains."""
    device = torch.device(config.train.device)
    loop = our_loop(config, device)
    for _ in range(steps_to_warm_up(config, device)):
        next(loop)
    torch.cuda.synchronize(device)
    start, epochs = time.perf_counter(), 0
    while time.perf_counter() < start + WALL_SECONDS:
        for _ in range(steps_per_epoch):
            next(loop)
        epochs += 1
    torch.cuda.synchronize(device)
    return (time.perf_counter() - start) / epochs


def gpu_seconds(epoch: Callable[[], list[Tensor]], device: torch.device) -> float:
    """What the GPU needs for an epoch that has been queued while it was occupied."""
    left, right = torch.randn(2, SIDE, SIDE, device=device)
    before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    best = float("inf")
    for _ in range(3):
        for _ in range(PRODUCTS):
            left @ right
        before.record()
        epoch()
        after.record()
        torch.cuda.synchronize(device)
        best = min(best, before.elapsed_time(after) / 1e3)
    return best


def kernel_seconds(epoch: Callable[[], list[Tensor]]) -> tuple[float, int]:
    """The sum of the durations of an epoch's kernels and copies, and their number."""
    with profile(activities=[ProfilerActivity.CUDA]) as recorded:
        epoch()
        torch.cuda.synchronize()
    events = [event for event in recorded.events() if event.device_type == DeviceType.CUDA]
    if not events:
        raise RuntimeError("it saw no kernels")
    return sum(event.time_range.elapsed_us() for event in events) / 1e6, len(events)
