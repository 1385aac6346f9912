"""What a study's first launch finds out about the machine and later launches keep."""

from __future__ import annotations

from collections.abc import Callable

import torch

from dcgan.config.settings import override
from dcgan.errors import UsageError
from dcgan.evaluation.evaluator import configured_extractor
from dcgan.runtime.devices import processors, resolve_device
from dcgan.runtime.memory import available_memory
from dcgan.training.speed import fastest_threads
from study.config.study_config import StudyConfig

WORKER_BYTES = 3 * 2**29
"""Memory `auto` reckons for each worker on a CPU, whatever its config: nearly twice the peak of the
reference recipe (`benchmarks/training/first_step.py`)."""


def settle(
    config: StudyConfig, earlier: StudyConfig | None, say: Callable[[str], None]
) -> tuple[StudyConfig, int]:
    """Replace what the config leaves open: `eval.extractor: auto`, and `train.threads` on a CPU.

    Numbers depend on both, so they are chosen once for all trials.

    Args:
        earlier: the config of the study's last launch; none at the first.
        say: called with one sentence for each choice made.

    Returns:
        The config, and how many workers shall run trials.

    Raises:
        UsageError: more workers than the GPUs may take.
    """
    return settle_workers(_with_extractor(config, earlier, say), earlier, say)


def settle_workers(
    config: StudyConfig, earlier: StudyConfig | None, say: Callable[[str], None]
) -> tuple[StudyConfig, int]:
    """The part of `settle` that decides how fast trials run. What it has decided it leaves alone.

    Args, result and errors are those of `settle`.
    """
    if resolve_device(config.base.train.device).type == "cpu":
        return _with_threads(config, earlier, say)
    return config, _workers_on_gpus(config)


def _with_extractor(
    config: StudyConfig, earlier: StudyConfig | None, say: Callable[[str], None]
) -> StudyConfig:
    """The best extractor at hand."""
    if config.base.eval.extractor != "auto":
        return config
    if earlier is not None:
        kept = {
            f"base.eval.{key}": getattr(earlier.base.eval, key) for key in ("extractor", "weights")
        }
        return override(config, kept, "eval.extractor")
    extractor = configured_extractor(config.base, resolve_device(config.base.train.device))
    say(
        f"extractor auto: '{extractor.name}' ({extractor.source}) is the best at hand, so scores "
        f"are {extractor.frechet_name} in this study"
    )
    return override(config, {"base.eval.extractor": extractor.name}, "eval.extractor")


def _with_threads(
    config: StudyConfig, earlier: StudyConfig | None, say: Callable[[str], None]
) -> tuple[StudyConfig, int]:
    """The thread count that trains the base recipe fastest, and workers for the processors left."""
    cpus, workers, threads = processors(), config.study.workers, config.base.train.threads
    most = cpus if workers == "auto" else max(1, cpus // workers)
    room = _workers_memory_holds(cpus) if workers == "auto" else cpus
    if threads is None and earlier is not None:
        threads = earlier.base.train.threads
        if threads is None:  # begun before threads were measured
            return config, 1 if workers == "auto" else workers
        if threads > most:
            say(f"train.threads is {most} from now on: a worker's share of {cpus} processors")
            threads = most
    if threads is None:
        threads, rates = fastest_threads(config.base, most)
        if workers == "auto":  # what counts is the speed of as many workers as have room
            threads = max(rates, key=lambda count: rates[count] * min(cpus // count, room))
        measured = ", ".join(f"{count}: {rate:.0f} images/s" for count, rate in rates.items())
        limit = f", with memory for {room} workers" if room < cpus else ""
        say(f"train.threads is {threads} in this study, the fastest here{limit} ({measured})")
    config = override(config, {"base.train.threads": threads}, "train.threads")
    if workers != "auto":
        return config, workers
    share = max(1, cpus // threads)
    if room < share:
        say(f"--workers auto: {room}, as many as the free memory is enough for")
    return config, min(share, room)


def _workers_memory_holds(workers: int) -> int:
    """How many of these there is memory for, at least one."""
    memory = available_memory()
    return workers if memory is None else max(1, min(workers, memory // WORKER_BYTES))


def _workers_on_gpus(config: StudyConfig) -> int:
    if resolve_device(config.base.train.device).type != "cuda":
        return 1 if config.study.workers == "auto" else config.study.workers
    room = torch.cuda.device_count() * config.study.trials_per_gpu
    if config.study.workers == "auto":
        return room
    if config.study.workers > room:
        raise UsageError(
            f"{config.study.workers} workers are more than {torch.cuda.device_count()} GPUs take "
            f"with {config.study.trials_per_gpu} each; lower --workers or raise --trials-per-gpu"
        )
    return config.study.workers
