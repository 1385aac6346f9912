"""Section: how long a step takes to record as a CUDA graph, and what a failed recording leaves.

The section runs in a process of its own: a failed recording may leave the GPU's random streams
unusable, which is what its last line is about. A CPU has no graphs; there a stand-in that keeps a
graph's promise (recording does nothing, a replay fills the same tensor) takes its place.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu_parts.report import Line, at_most, holds
from benchmarks.gpu_parts.setup import LARGEST, TECHNIQUES, Setup, apart
from benchmarks.lib.machine import synchronise
from dcgan.config.train_config import TrainConfig
from dcgan.data.bank import load_bank
from dcgan.errors import first_line
from dcgan.runtime.numerics import numerics
from dcgan.training.cuda_graphs import EAGER_STEPS, Stepper, record_graph
from dcgan.training.step import TrainState

Body = Callable[[], Tensor]
Recorded = tuple[Tensor, Callable[[], None]]
MOST_SECONDS = 2.0
NETWORKS = {
    "small networks (16)": {"model.ngf": 16, "model.ndf": 16},
    "reference recipe": {},
    "largest networks (96)": LARGEST,
    "projected discriminator": TECHNIQUES,
}


def capture(setup: Setup) -> Iterator[Line]:
    """Time the recordings; compare steps after a failed one with steps that are not recorded."""
    yield from apart(_lines, setup)


def _lines(setup: Setup) -> list[Line]:
    lines = []
    for name, changes in NETWORKS.items():
        try:
            seconds = record_seconds(config_of(setup, changes))
            for size, taken in seconds.items():
                what = f"{name}, batch {size}"
                lines.append(at_most(what, taken, MOST_SECONDS, "s", applies=not setup.reduced))
        except (RuntimeError, UserWarning) as error:
            lines.append(Line(name, f"not recorded: {first_line(error)}", state="fail"))
    same = after_a_failure(config_of(setup, {}))
    lines.append(holds("steps after a failed recording", same, "as without graphs"))
    return lines


def config_of(setup: Setup, changes: dict[str, Any]) -> TrainConfig:
    """The config of one kind of networks."""
    return setup.config(**{key.replace(".", "__"): value for key, value in changes.items()})


def record_seconds(config: TrainConfig) -> dict[int, float]:
    """Seconds of recording by batch size: a whole batch and a smaller one.

    Raises `UserWarning` with the reason if the steps cannot be recorded.
    """
    stepper, device = stepper_of(config), torch.device(config.train.device)
    record, taken = stepper.record or stand_in, dict[int, float]()

    def timed(body: Body, rngs: Sequence[torch.Generator]) -> Recorded:
        synchronise(device)
        start = time.perf_counter()
        recorded = record(body, rngs)
        synchronise(device)
        taken[size] = time.perf_counter() - start
        return recorded

    stepper.record = timed
    with numerics(config.train), warnings.catch_warnings():
        warnings.filterwarnings("error", ".*cannot be recorded")  # to a run it is only a warning
        for size in (config.train.batch_size, config.train.batch_size // 2):
            for _ in range(EAGER_STEPS + 2):
                losses = stepper.step(torch.arange(size, device=device))
    if not bool(losses.isfinite().all()):
        raise RuntimeError("a replay gave losses that are not finite")
    return taken


def after_a_failure(config: TrainConfig) -> str:
    """Whether steps go on with the same numbers after a recording that fails half way."""
    plain, failing = stepper_of(config), stepper_of(config)
    plain.record, failing.record = None, fail_half_way
    device = torch.device(config.train.device)
    indices = torch.arange(config.train.batch_size, device=device)
    with numerics(config.train), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            for _ in range(EAGER_STEPS + 3):
                expected, found = plain.step(indices), failing.step(indices)
                synchronise(device)
        except RuntimeError as error:
            return f"an error: {first_line(error)}"
    if not any("cannot be recorded" in str(warning.message) for warning in caught):
        return "without the warning that should say so"
    return "as without graphs" if torch.equal(expected, found) else "other numbers"


def fail_half_way(body: Body, rngs: Sequence[torch.Generator]) -> Recorded:
    """Record a step that reads a number back, which no graph can hold; see `record_graph`."""
    if rngs[0].device.type == "cpu":
        raise RuntimeError("a CPU records nothing")

    def reads_back() -> Tensor:
        losses = body()
        return losses * float(losses[0])

    return record_graph(reads_back, rngs)


def stand_in(body: Body, rngs: Sequence[torch.Generator]) -> Recorded:
    """What a graph promises, on a CPU."""
    result = torch.full((5,), torch.nan)

    def replay() -> None:
        result.copy_(body())

    return result, replay


def stepper_of(config: TrainConfig) -> Stepper:
    """Fresh networks on the photos of a config."""
    device = torch.device(config.train.device)
    photos = load_bank(config.data).images.to(device)
    return Stepper(TrainState.fresh(config, device), photos, config)
