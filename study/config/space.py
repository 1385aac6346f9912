"""Trial parameters → a train config. Only this module calls `trial.suggest_*`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from optuna.trial import Trial

from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig
from dcgan.runtime.seeds import derive_seed
from study.config.dimensions import Choices, FloatRange
from study.config.study_config import StudyConfig


def suggest(trial: Trial, config: StudyConfig) -> TrainConfig:
    """Ask the sampler for every searched value and build the trial's train config."""
    params = suggest_params(trial, config)
    return trial_config(config, params, trial.number, trial.user_attrs.get("seed"))


def suggest_params(trial: Trial, config: StudyConfig) -> dict[str, Any]:
    """Ask the sampler for every searched value; returns them by their short names."""
    params: dict[str, Any] = {}
    for key, dimension in config.space.items():
        name, bounds = config.short_name(key), dimension.model_dump(exclude={"type"})
        if isinstance(dimension, Choices):
            params[name] = trial.suggest_categorical(name, list(dimension.stored))
        elif isinstance(dimension, FloatRange):
            params[name] = trial.suggest_float(name, **bounds)
        else:
            params[name] = trial.suggest_int(name, **bounds)
    return params


def trial_config(
    config: StudyConfig, params: Mapping[str, Any], number: int, seed: int | None = None
) -> TrainConfig:
    """The train config of a trial from its stored parameters (short names) and its number.

    Without a `seed`, the study's seed and the number give one.
    """
    seed = trial_seed(config.study.seed, number) if seed is None else seed
    values: dict[str, Any] = {"train.seed": seed}
    for key, dimension in config.space.items():
        value = params[config.short_name(key)]
        values[key] = dimension.stored[value] if isinstance(dimension, Choices) else value
    return override(config.base, values, f"trial {number}")


def middle(config: StudyConfig) -> dict[str, Any]:
    """The middle of every range, or of the list of choices, by short names."""
    params: dict[str, Any] = {}
    for key, dimension in config.space.items():
        if isinstance(dimension, Choices):
            stored = list(dimension.stored)
            value = stored[len(stored) // 2]
        else:
            low, high = dimension.low, dimension.high
            value = math.sqrt(low * high) if dimension.log else (low + high) / 2
            if dimension.step:
                value = low + dimension.step * round((value - low) / dimension.step)
            value = value if isinstance(dimension, FloatRange) else round(value)
        params[config.short_name(key)] = value
    return params


def trial_seed(study_seed: int, number: int, replicate: int = 0) -> int:
    """The training seed of a trial: 32 bits, different for every trial and replicate."""
    return derive_seed(study_seed, "trial", number, replicate) % 2**32
