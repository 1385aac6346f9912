"""What a study's first launch decides by the machine, and later launches keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig
from dcgan.errors import UsageError
from dcgan.evaluation.evaluator import configured_extractor
from dcgan.evaluation.extractors.base import Extractor
from dcgan.runtime.devices import processors, resolve_device
from dcgan.runtime.memory import available_memory
from study.config.study_config import StudyConfig

WORKER_BYTES = 3 * 2**29
"""Memory that `auto` reserves for each worker on a CPU, whatever its config: nearly twice the peak
of the reference recipe (`benchmarks/first_step.py`)."""
Measure = Callable[[TrainConfig, int], tuple[int, dict[int, float]]]
"""Maps a config and the most threads allowed to the fastest number and the images/s of each."""


@dataclass(frozen=True)
class Machine:
    """What decides how many threads and workers make sense."""

    device: str = "cpu"
    """Type of the device that trains: `cpu`, `cuda`, `mps`."""
    processors: int = 1
    gpus: int = 0
    memory: int | None = None
    """Bytes still available; None if unknown."""

    @classmethod
    def here(cls, config: TrainConfig) -> Machine:
        """This machine, as a config uses it."""
        device = resolve_device(config.train.device).type
        gpus = torch.cuda.device_count() if device == "cuda" else 0
        return cls(device, processors(), gpus, available_memory())

    @property
    def room(self) -> int:
        """Workers that there is memory for, between 1 and the number of processors."""
        if self.memory is None:
            return self.processors
        return max(1, min(self.processors, self.memory // WORKER_BYTES))


@dataclass(frozen=True)
class Resources:
    """What was chosen."""

    threads: int | None
    """Of each worker; None on a GPU, and in studies from before threads were measured."""
    workers: int
    rates: Mapping[int, float] = field(default_factory=dict)
    """Images/s by threads; empty if nothing was measured."""
    notes: tuple[str, ...] = ()
    """One sentence for each choice that a person did not make."""


def choose_resources(
    config: StudyConfig, earlier: StudyConfig | None, machine: Machine, measure: Measure
) -> Resources:
    """Choose threads and workers: `train.threads` once for all trials, since numbers depend on it.

    Args:
        earlier: the config of the study's last launch; None at the first.
        measure: called at most once, if the threads have to be measured.

    Raises:
        UsageError: more workers are asked for than the GPUs may take.
    """
    if machine.device != "cpu":
        return Resources(config.base.train.threads, _workers_on_gpus(config, machine))
    threads, rates, notes = config.base.train.threads, dict[int, float](), list[str]()
    if threads is None and earlier is not None:
        threads, notes = _kept_threads(earlier, config.study.workers, machine)
    elif threads is None:
        threads, rates, notes = _fastest_threads(config, machine, measure)
    if config.study.workers != "auto":
        return Resources(threads, config.study.workers, rates, tuple(notes))
    share = 1 if threads is None else max(1, machine.processors // threads)
    if machine.room < share:
        notes.append(f"--workers auto: {machine.room}, as many as the free memory is enough for")
    return Resources(threads, min(share, machine.room), rates, tuple(notes))


def _most_threads(workers: int | str, machine: Machine) -> int:
    """A worker's share of the processors; all of them if the workers are yet to be chosen."""
    return machine.processors // workers or 1 if isinstance(workers, int) else machine.processors


def _kept_threads(
    earlier: StudyConfig, workers: int | str, machine: Machine
) -> tuple[int | None, list[str]]:
    threads, most = earlier.base.train.threads, _most_threads(workers, machine)
    if threads is None or threads <= most:
        return threads, []
    share = f"a worker's share of {machine.processors} processors"
    return most, [f"train.threads is {most} from now on: {share}"]


def _fastest_threads(
    config: StudyConfig, machine: Machine, measure: Measure
) -> tuple[int, dict[int, float], list[str]]:
    workers, limit = config.study.workers, ""
    threads, rates = measure(config.base, _most_threads(workers, machine))
    if workers == "auto":  # what counts is the speed of as many workers as have room
        cpus, room = machine.processors, machine.room
        threads = max(rates, key=lambda count: rates[count] * min(cpus // count, room))
        limit = f", with memory for {room} workers" if room < cpus else ""
    measured = ", ".join(f"{count}: {rate:.0f} images/s" for count, rate in rates.items())
    note = f"train.threads is {threads} in this study, the fastest here{limit} ({measured})"
    return threads, rates, [note]


def _workers_on_gpus(config: StudyConfig, machine: Machine) -> int:
    workers, each = config.study.workers, config.study.trials_per_gpu
    if machine.device != "cuda":
        return 1 if workers == "auto" else workers
    if workers == "auto":
        return machine.gpus * each
    if workers > machine.gpus * each:
        raise UsageError(
            f"{workers} workers are more than {machine.gpus} GPUs take with {each} each; lower "
            "--workers or raise --trials-per-gpu"
        )
    return workers


def choose_extractor(
    config: StudyConfig, earlier: StudyConfig | None
) -> tuple[StudyConfig, Extractor, list[str]]:
    """Load the extractor. `eval.extractor: auto` takes the best at hand, once for all trials.

    Args:
        earlier: the config of the study's last launch; None at the first.

    Returns:
        The config with the extractor's name, the extractor, and a sentence if it was chosen now.

    Raises:
        DcganError: it cannot be loaded.
    """
    first = config.base.eval.extractor == "auto" and earlier is None
    if config.base.eval.extractor == "auto" and earlier is not None:
        kept = {key: getattr(earlier.base.eval, key) for key in ("extractor", "weights")}
        changes = {f"base.eval.{key}": value for key, value in kept.items()}
        config = override(config, changes, "eval.extractor")
    extractor = configured_extractor(config.base, resolve_device(config.base.train.device))
    if not first:
        return config, extractor, []
    note = (
        f"extractor auto: '{extractor.name}' ({extractor.source}) is the best at hand, so scores "
        f"are {extractor.frechet_name} in this study"
    )
    config = override(config, {"base.eval.extractor": extractor.name}, "eval.extractor")
    return config, extractor, [note]
