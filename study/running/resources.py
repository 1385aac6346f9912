"""What a study's first launch decides by the machine, and later launches keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch

from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig
from dcgan.errors import UsageError
from dcgan.evaluation.evaluator import configured_extractor
from dcgan.evaluation.extractors.base import Extractor
from dcgan.runtime.devices import processors, resolve_device
from dcgan.runtime.memory import available_memory
from dcgan.training.packing import best_packing
from dcgan.training.precision import continued, remark, settle
from study.config.space import middle, trial_config
from study.config.study_config import StudyConfig

WORKER_BYTES = 3 * 2**29
"""Memory that `auto` reserves for each worker on a CPU, whatever its config: nearly twice the peak
of the reference recipe (`benchmarks/training/first_step.py`)."""
Measure = Callable[[TrainConfig, int], tuple[int, dict[int, float]]]
"""Maps a config and the most threads allowed to the fastest number and the images/s of each."""


@dataclass(frozen=True)
class Machine:
    """What decides how many threads and workers make sense."""

    device: str = "cpu"
    """Type of the device that trains: `cpu`, `cuda`, `mps`."""
    processors: int = 1
    gpus: int = 0
    room: int = 1
    """Workers on the CPU that there is memory for, between 1 and the number of processors."""

    @classmethod
    def here(cls, config: TrainConfig) -> Machine:
        """This machine, as a config uses it."""
        device, cpus, memory = resolve_device(config.train.device), processors(), available_memory()
        gpus = torch.cuda.device_count() if device.type == "cuda" else 0
        return cls(device.type, cpus, gpus, workers_in_memory(cpus, memory))


def workers_in_memory(most: int, memory: int | None) -> int:
    """How many workers there is memory for: at least 1, all if the `memory` (bytes) is unknown."""
    return most if memory is None else max(1, min(most, memory // WORKER_BYTES))


@dataclass(frozen=True)
class Resources:
    """What was chosen."""

    threads: int | None
    """Of each worker; None on a GPU, and in studies from before threads were measured."""
    workers: int
    notes: tuple[str, ...] = ()
    """One sentence for each choice that a person did not make."""


def choose_resources(
    config: StudyConfig, earlier: StudyConfig | None, machine: Machine, measure: Measure
) -> Resources:
    """Choose threads and workers: threads once for all trials, since numbers depend on them.

    `earlier` is the config of the last launch, None at the first. `measure` is called at most once.
    Raises `UsageError` for more workers than the GPUs may take.
    """
    if machine.device != "cpu":
        return Resources(config.base.train.threads, _workers_on_gpus(config, machine))
    threads, notes = _choose_threads(config, earlier, machine, measure)
    if config.study.workers != "auto":
        return Resources(threads, config.study.workers, tuple(notes))
    if config.study.launcher == "ray":  # which finds out how many there is room for
        return Resources(threads, 1, tuple(notes))
    share = 1 if threads is None else max(1, machine.processors // threads)
    if machine.room < share:
        notes.append(f"--workers auto: {machine.room}, as many as the free memory is enough for")
    return Resources(threads, min(share, machine.room), tuple(notes))


def _choose_threads(
    config: StudyConfig, earlier: StudyConfig | None, machine: Machine, measure: Measure
) -> tuple[int | None, list[str]]:
    """The config's own, else those of the last launch, else those that train fastest."""
    if config.base.train.threads is not None:
        return config.base.train.threads, []
    cpus, workers = machine.processors, config.study.workers
    elsewhere = config.study.launcher == "ray"  # workers do not share this machine's processors
    most = cpus if workers == "auto" or elsewhere else max(1, cpus // workers)
    if earlier is not None:
        threads = earlier.base.train.threads
        if threads is None or threads <= most:
            return threads, []
        note = f"train.threads is {most} from now on: a worker's share of {cpus} processors"
        return most, [note]
    (fastest, rates), limit = measure(config.base, most), ""
    if workers == "auto":  # what counts is the speed of as many workers as have room
        fastest = max(rates, key=lambda count: rates[count] * min(cpus // count, machine.room))
        limit = f", with memory for {machine.room} workers" if machine.room < cpus else ""
    measured = ", ".join(f"{count}: {rate:.0f} images/s" for count, rate in rates.items())
    note = f"train.threads is {fastest} in this study, the fastest here{limit} ({measured})"
    return fastest, [note]


def _workers_on_gpus(config: StudyConfig, machine: Machine) -> int:
    workers, each = config.study.workers, trials_per_gpu(config)
    if machine.device != "cuda" or config.study.launcher == "ray":  # the cluster has others
        return 1 if workers == "auto" else workers
    if workers == "auto":
        return machine.gpus * each
    if workers > machine.gpus * each:
        raise UsageError(
            f"{workers} workers are more than {machine.gpus} GPUs take with {each} each; lower "
            "--workers or raise --trials-per-gpu"
        )
    return workers


def trials_per_gpu(config: StudyConfig) -> int:
    """How many workers may share a GPU; 1 where there is none, and `auto` measured nothing."""
    each = config.study.trials_per_gpu
    return 1 if each == "auto" else each


def choose_packing(
    config: StudyConfig,
    earlier: StudyConfig | None,
    machine: Machine,
    measure: Callable[[TrainConfig], tuple[int, dict[int, float]]] | None = None,
) -> tuple[StudyConfig, list[str]]:
    """Replace `trials_per_gpu: auto` by what trains fastest: the middle of the search space.

    Trials that share a GPU have the numbers of those that do not, so another launch may choose
    another number. A number of workers leaves nothing to choose. `earlier` is the config of the
    last launch, None at the first. Returns the config, and a sentence about the choice.
    """
    workers = config.study.workers
    if config.study.trials_per_gpu != "auto":
        return config, []
    if machine.device != "cuda":
        return config, ["--trials-per-gpu auto measures a CUDA GPU; there is none here"]
    if workers != "auto":
        return _with_packing(config, -(-workers // max(1, machine.gpus))), []
    settled, _ = choose_precision(config, earlier)
    typical = trial_config(settled, middle(settled), 0)
    best, rates = (measure or _measured)(typical)
    config = _with_packing(config, best)
    if not rates:
        return config, ["--trials-per-gpu auto: 1, because a training failed when it was measured"]
    measured = ", ".join(f"{count}: {rate:.0f} images/s" for count, rate in rates.items())
    return config, [f"--trials-per-gpu auto: {best}, the fastest here ({measured})"]


def _measured(config: TrainConfig) -> tuple[int, dict[int, float]]:
    return _measured_once(config.model_dump_json())


@cache  # a confirmation launches one round after the other
def _measured_once(config: str) -> tuple[int, dict[int, float]]:
    return best_packing(TrainConfig.model_validate_json(config))


def _with_packing(config: StudyConfig, each: int) -> StudyConfig:
    return override(config, {"study.trials_per_gpu": each}, "study.trials_per_gpu")


def choose_precision(
    config: StudyConfig, earlier: StudyConfig | None
) -> tuple[StudyConfig, list[str]]:
    """Replace `train.precision: auto` once for all trials, since numbers depend on it.

    `earlier` is the config of the last launch, None at the first. Returns the config, and a
    sentence about the choice or a bad one. Raises `UsageError` for a precision that the device
    cannot compute in.
    """
    base, device = config.base, resolve_device(config.base.train.device)
    if earlier is not None:
        kept = continued(base.train.precision, earlier.base.train.precision, device)
        base = override(base, {"train.precision": kept}, "train.precision")
    base, choice = settle(base, device)
    precision = base.train.precision
    told = str(choice or remark(precision, device))
    config = override(config, {"base.train.precision": precision}, "train.precision")
    return config, [told] if told else []


def choose_extractor(
    config: StudyConfig, earlier: StudyConfig | None
) -> tuple[StudyConfig, Extractor, list[str]]:
    """Load the extractor. `eval.extractor: auto` takes the best available, once for all trials.

    Returns the config with the extractor's name, the extractor, and a sentence if it was chosen
    now. `earlier` is the config of the last launch, None at the first. Raises `DcganError` if it
    cannot be loaded.
    """
    auto = config.base.eval.extractor == "auto"
    if auto and earlier is not None:
        kept = {key: getattr(earlier.base.eval, key) for key in ("extractor", "weights")}
        changes = {f"base.eval.{key}": value for key, value in kept.items()}
        config = override(config, changes, "eval.extractor")
    extractor = configured_extractor(config.base, resolve_device(config.base.train.device))
    if not auto or earlier is not None:
        return config, extractor, []
    note = (
        f"extractor auto: '{extractor.name}' ({extractor.source}) is the best available, so scores "
        f"are {extractor.frechet_name} in this study"
    )
    config = override(config, {"base.eval.extractor": extractor.name}, "eval.extractor")
    return config, extractor, [note]
