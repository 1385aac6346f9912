"""Training loops in processes of their own that take turns, so that none disturbs another.

A process does not benefit from another's settings (for example how memory is kept).
"""

from __future__ import annotations

import itertools
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from benchmarks.lib.machine import peak_mib, synchronise
from benchmarks.lib.our_loop import our_loop, steps_to_warm_up
from dcgan.config.train_config import TrainConfig
from dcgan.errors import first_line
from dcgan.runtime.numerics import numerics

PAUSE_SECONDS = 0.7
"""Pause between two turns: a DataLoader's workers fill their queue after its loop has stopped."""
PATIENCE_SECONDS = 180.0
"""For the start of a process, and beyond the length of a turn."""


@dataclass(frozen=True)
class Loop:
    """A loop to measure. `kind` is `ours`, `plain` or `plain, in memory`."""

    kind: str
    config: TrainConfig
    workers: int = 0
    """Of the plain loop's DataLoader."""
    copies: int = 1
    """Processes that take a turn together; their rates are added."""


@dataclass
class Measured:
    """What a loop did."""

    rates: list[float] = field(default_factory=list)
    """Images per second of each turn."""
    peak_mib: float = 0.0
    """See `benchmarks.lib.machine.peak_mib`."""

    @property
    def rate(self) -> float:
        """The median over the turns."""
        return statistics.median(self.rates)


def take_turns(
    loops: dict[str, Loop],
    turns: int,
    seconds: float,
    between: Callable[[], object] = lambda: None,
) -> dict[str, Measured]:
    """Train with each loop for some seconds, one after the other, `turns` times.

    `between` is called after each round of turns. Raises `RuntimeError` with its name if a loop
    fails.
    """
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, list[Connection]] = {name: [] for name in loops}
    with ExitStack() as stack:
        for name, loop in loops.items():
            for _ in range(loop.copies):
                near_end, far_end = context.Pipe()
                process = context.Process(target=_serve, args=(far_end, loop, seconds))
                process.start()
                stack.callback(_end, process, near_end)
                far_end.close()  # so that recv() fails if the process dies
                pipes[name].append(near_end)
        for name, ends in pipes.items():
            for pipe in ends:
                _receive(name, pipe, PATIENCE_SECONDS)
        measured = {name: Measured() for name in loops}
        for _ in range(turns):
            for name, ends in pipes.items():
                time.sleep(PAUSE_SECONDS)
                for pipe in ends:
                    pipe.send("go")
                done = [_receive(name, pipe, seconds + PATIENCE_SECONDS) for pipe in ends]
                measured[name].rates.append(sum(rate for rate, _ in done))
                measured[name].peak_mib = max(mib for _, mib in done)
            between()
        for pipe in itertools.chain(*pipes.values()):
            pipe.send("stop")
        return measured


def _receive(name: str, pipe: Connection, patience: float) -> Any:
    if not pipe.poll(patience):
        raise RuntimeError(f"the loop '{name}' did not answer for {patience:.0f} s")
    try:
        state, content = pipe.recv()
    except EOFError:
        raise RuntimeError(f"the process of the loop '{name}' died") from None
    if state == "error":
        raise RuntimeError(f"the loop '{name}' failed: {content}")
    return content


def _end(process: BaseProcess, pipe: Connection) -> None:
    pipe.close()  # a loop that waits for its turn ends
    process.join(10)
    if process.is_alive():
        process.kill()
        process.join()


def _serve(pipe: Connection, loop: Loop, seconds: float) -> None:
    """The process of a loop: train for some seconds on each "go"."""
    try:
        if loop.kind == "ours":
            with numerics(loop.config.train):
                _take_own_turns(pipe, loop, seconds)
            return
        if loop.config.train.threads:
            torch.set_num_threads(loop.config.train.threads)
        _take_own_turns(pipe, loop, seconds)
    except Exception as error:
        pipe.send(("error", f"{type(error).__name__}: {first_line(error)}"))


def _take_own_turns(pipe: Connection, loop: Loop, seconds: float) -> None:
    device = torch.device(loop.config.train.device)
    # A DataLoader's queue is full after a pause. A GPU may use it up faster than the workers fill
    # it, so that a short turn would count photos that were made before.
    queued = 2 * loop.workers if device.type == "cuda" and loop.kind != "ours" else 0
    steps = _steps(loop, device)
    for _ in range(queued + _warm_up(loop, device)):
        next(steps)
    synchronise(device)
    pipe.send(("ready", None))
    while _told_to_go(pipe):
        for _ in range(queued):
            next(steps)
        synchronise(device)
        start, images = time.perf_counter(), 0
        while time.perf_counter() < start + seconds:
            images += next(steps)
        synchronise(device)
        rate = images / (time.perf_counter() - start)
        pipe.send(("turn", (rate, peak_mib(device))))


def _told_to_go(pipe: Connection) -> bool:
    try:
        return bool(pipe.recv() == "go")
    except EOFError:  # another loop failed
        return False


def _steps(loop: Loop, device: torch.device) -> Iterator[int]:
    if loop.kind == "ours":
        return our_loop(loop.config, device)
    from benchmarks.lib.plain_loop import plain_loop  # torchvision, which ours does without

    in_memory = loop.kind == "plain, in memory"
    return plain_loop(loop.config, device, loop.workers, in_memory=in_memory)


def _warm_up(loop: Loop, device: torch.device) -> int:
    """Steps for allocations, the start of workers and the file cache; on a GPU also recordings."""
    if loop.kind == "ours":
        return steps_to_warm_up(loop.config, device)
    return 2 if device.type == "cpu" else 10
