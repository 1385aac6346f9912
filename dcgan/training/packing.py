"""How many trainings at once get the most images per second out of one GPU.

Small networks leave most of a GPU idle, and trainings that share it fill the gaps. More of them
gain nothing once it is busy, and its memory may be full before.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass

import torch

from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig
from dcgan.errors import DcganError
from dcgan.runtime.devices import processors, resolve_device
from dcgan.runtime.numerics import numerics
from dcgan.training.cuda_graphs import EAGER_STEPS, Stepper
from dcgan.training.schedule import Schedule
from dcgan.training.step import TrainState

COUNTS = (1, 2, 4, 8)
WORTH_IT = 1.05
"""The least speed-up for which twice as many trainings share a GPU."""
FULL = 0.5
"""The share of a GPU's memory beyond which no further training is tried. Trials take more than what
is measured: the largest configs, the photos, and the extractor, which all may score at once."""
SECONDS = 3.0
PATIENCE_SECONDS = 240.0
"""Beyond the seconds of training: imports, recording, one process after the other."""
STEPS_PER_EPOCH = 8
COMMAND = (sys.executable, "-m", "dcgan.training.packing")
Program = subprocess.Popen[str]


class PackingError(DcganError):
    """A training beside others failed: most likely they do not fit into the memory."""


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
        except PackingError:
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

    If `train.threads` is not set, all that train on this machine's GPUs share the processors.
    Raises `PackingError` if one of them ends without an answer.
    """
    if config.train.threads is None:
        share = max(1, processors() // (count * max(1, torch.cuda.device_count())))
        config = override(config, {"train.threads": share}, "train.threads")
    with ExitStack() as stack:
        crew = [stack.enter_context(_program()) for _ in range(count)]
        late = threading.Timer(seconds + PATIENCE_SECONDS, _end, [crew])
        stack.callback(late.cancel)
        stack.callback(_end, crew)
        late.start()
        for one in crew:
            _tell(one, config.model_dump_json())
        for one in crew:
            _answer(one)  # it has warmed up, and waits
        for one in crew:
            _tell(one, str(seconds))
        found = [Together(**json.loads(_answer(one))) for one in crew]
    return Together(
        images_per_second=sum(one.images_per_second for one in found),
        bytes_each=max(one.bytes_each for one in found),
        used=max(one.used for one in found),
    )


def _program() -> Program:
    """A process that trains; programs of this module need no guard in a person's script."""
    pipe = subprocess.PIPE
    return subprocess.Popen(COMMAND, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)


def _end(crew: list[Program]) -> None:
    for one in crew:
        one.kill()


def _tell(program: Program, line: str) -> None:
    assert program.stdin
    with suppress(BrokenPipeError):  # its missing answer says so
        program.stdin.write(line + "\n")
        program.stdin.flush()


def _answer(program: Program) -> str:
    assert program.stdout
    line = program.stdout.readline()
    if not line:
        raise PackingError("a training that was measured beside others ended without an answer")
    return line


def _main() -> None:
    """What one process does: warm up, wait for the others, train, and tell what it did."""
    config = TrainConfig.model_validate_json(sys.stdin.readline())
    device = resolve_device(config.train.device)
    with numerics(config.train):
        epochs = _endless(config, device)
        for _ in range(1 + EAGER_STEPS // STEPS_PER_EPOCH):
            next(epochs)
        print("ready", flush=True)
        seconds = float(sys.stdin.readline())
        start, images = time.perf_counter(), 0
        while time.perf_counter() < start + seconds:
            images += next(epochs)
        rate = images / (time.perf_counter() - start)
        print(json.dumps(asdict(Together(rate, *_memory(device)))), flush=True)


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


if __name__ == "__main__":
    _main()
