"""How fast the trials of a study train: a few steps of its baselines and of random configs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

import optuna
from optuna.samplers import RandomSampler

from dcgan.config.train_config import TrainConfig
from dcgan.errors import OutOfMemoryError
from dcgan.training.speed import images_per_second
from study.config.space import suggest_params, trial_config
from study.config.study_config import StudyConfig
from study.search.rungs import Rungs, epochs_in_all

DRAWS = 4
"""Random configs that are measured, and the most baselines."""


def seconds_per_image(
    config: StudyConfig, measure: Callable[[TrainConfig], float] = images_per_second
) -> float | None:
    """The mean of all that a study trains, on this machine.

    Baselines train to their end. What the sampler will propose, and which of it goes on, is not
    known, so random configs stand for it. Configs that memory is not enough for are left out, as
    their trials will end at once; None if there is no other. `measure` gives a config's images/s.
    """
    length, rungs = config.base.train.epochs, Rungs.of(config)
    baselines = len(config.trained_baselines)
    whole = epochs_in_all(rungs, baselines) if rungs else config.study.trials * length
    share = min(1.0, baselines * length / whole)
    known = [
        trial_config(config, config.baseline_params(baseline), number)
        for number, baseline in enumerate(config.baselines[:DRAWS])
    ]
    parts = [(share, known), (1 - share, random_configs(config))]
    seconds = weight = 0.0
    for part, configs in parts:
        rates = list(_measured(configs, measure)) if part else []
        if rates:
            seconds += part * statistics.mean(1 / rate for rate in rates)
            weight += part
    return seconds / weight if weight else None


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
