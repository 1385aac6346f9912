"""How fast the trials of a study train: a few steps of its baselines and of random configs."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import NamedTuple

import optuna
from optuna.samplers import RandomSampler

from dcgan.config.train_config import TrainConfig
from dcgan.errors import OutOfMemoryError
from dcgan.runtime.children import child_environment
from dcgan.runtime.devices import processors
from dcgan.training.speed import images_per_second
from study.config.space import suggest_params, trial_config
from study.config.study_config import StudyConfig
from study.search.rungs import Rungs, epochs_in_all

DRAWS = 4
"""Random configs that are measured, and the most baselines."""
BUSY = """
import os, numpy
parent, matrix = os.getppid(), numpy.ones((1024, 1024), numpy.float32)
print(flush=True)
while os.getppid() == parent:
    matrix @ matrix
"""
"""A process that multiplies matrices until the one that started it is gone."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Pace(NamedTuple):
    """Seconds per image of what a study trains."""

    mean: float
    slowest: float
    """If all that the sampler proposes were like the slowest config that was measured."""


def seconds_per_image(
    config: StudyConfig,
    workers: int = 1,
    measure: Callable[[TrainConfig], float] = images_per_second,
) -> Pace | None:
    """The pace of one of so many workers, while the others are at work on the same processors.

    Baselines train to their end. What the sampler will propose, and which of it goes on, is not
    known, so random configs stand for it. Configs that memory is not enough for are left out, as
    their trials will end at once; None if there is no other. `measure` gives a config's images/s.
    """
    threads = config.base.train.threads or 1
    with busy(min(workers - 1, processors()) * threads):
        return _pace(config, measure)


def _pace(config: StudyConfig, measure: Callable[[TrainConfig], float]) -> Pace | None:
    length, rungs = config.base.train.epochs, Rungs.of(config)
    baselines = len(config.trained_baselines)
    whole = epochs_in_all(rungs, baselines) if rungs else config.study.trials * length
    share = min(1.0, baselines * length / whole)
    known = [
        trial_config(config, config.baseline_params(baseline), number)
        for number, baseline in enumerate(config.baselines[:DRAWS])
    ]
    parts = [(share, known), (1 - share, random_configs(config))]
    mean = slowest = weight = 0.0
    for part, configs in parts:
        seconds = [1 / rate for rate in _measured(configs, measure)] if part else []
        if seconds:
            mean += part * statistics.mean(seconds)
            slowest += part * (statistics.mean(seconds) if configs is known else max(seconds))
            weight += part
    return Pace(mean / weight, slowest / weight) if weight else None


@contextmanager
def busy(threads: int) -> Iterator[None]:
    """Keep other threads busy meanwhile, as other workers do.

    Two trainings beside each other are slower than one alone, because they share memory and often
    the two halves of a processor's core.
    """
    command = [sys.executable, "-c", BUSY]
    environment = child_environment({**os.environ, **ONE_THREAD})
    with ExitStack() as stack:
        for _ in range(threads):
            process = subprocess.Popen(
                command,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C is for the launch alone
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout
            process.stdout.readline()  # it has begun
        yield


def _measured(
    configs: Iterable[TrainConfig], measure: Callable[[TrainConfig], float]
) -> Iterator[float]:
    for config in configs:
        with suppress(OutOfMemoryError):
            yield measure(config)


def random_configs(config: StudyConfig) -> Iterator[TrainConfig]:
    """Some of the search space; the same ones each time."""
    study = optuna.create_study(sampler=RandomSampler(seed=config.study.seed))
    for number in range(DRAWS):
        yield trial_config(config, suggest_params(study.ask(), config), number)
