"""How fast the trials of a study train: a few steps of its baselines and of random configs."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import NamedTuple

import optuna
from optuna.samplers import RandomSampler

from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig
from dcgan.errors import OutOfMemoryError
from dcgan.runtime.children import child_environment
from dcgan.runtime.devices import processors
from dcgan.training.speed import images_per_second
from study.config.space import suggest_params, trial_config
from study.config.study_config import StudyConfig, possible_values
from study.search.rungs import Rungs, epochs_in_all

DRAWS = 4
"""Random configs that are measured, and the most baselines."""
SIZES = ("model.nz", "model.ngf", "model.ndf", "projected.channels", "projected.width")
"""Keys with which the networks grow."""
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
    """If all that the sampler proposes were as slow as the slowest that was measured: a random one,
    or that with the largest networks and the smallest batches."""


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
    mean = slowest = weight = 0.0
    if of_known := _measured(known, measure) if share else []:
        seconds = statistics.mean(took for took, _ in of_known)
        mean, slowest, weight = share * seconds, share * seconds, share
    if drawn := _measured(random_configs(config), measure) if share < 1 else []:
        mean += (1 - share) * statistics.mean(took for took, _ in drawn)
        slowest += (1 - share) * _slowest(config, drawn, measure)
        weight += 1 - share
    return Pace(mean / weight, slowest / weight) if weight else None


def _slowest(
    config: StudyConfig,
    drawn: Sequence[tuple[float, TrainConfig]],
    measure: Callable[[TrainConfig], float],
) -> float:
    """Seconds per image of the slowest of random configs, made as large as the space allows."""
    seconds, slow = max(drawn, key=lambda it: it[0])
    changes = {key: max(possible_values(config, key)) for key in SIZES}
    changes["train.batch_size"] = min(possible_values(config, "train.batch_size"))
    largest = override(slow, changes, "space")
    if largest == slow:
        return seconds
    return max([seconds, *(took for took, _ in _measured([largest], measure))])


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
) -> list[tuple[float, TrainConfig]]:
    """Seconds per image of each, without those that memory is not enough for."""
    found = []
    for config in configs:
        with suppress(OutOfMemoryError):
            found.append((1 / measure(config), config))
    return found


def random_configs(config: StudyConfig) -> Iterator[TrainConfig]:
    """Some of the search space; the same ones each time."""
    study = optuna.create_study(sampler=RandomSampler(seed=config.study.seed))
    for number in range(DRAWS):
        yield trial_config(config, suggest_params(study.ask(), config), number)
