"""Trial parameters → a train config: the only place that calls `trial.suggest_*`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig
from dcgan.runtime.seeds import derive_seed
from study.config.dimensions import Choices, FloatRange, encode_choice
from study.config.study_config import StudyConfig

if TYPE_CHECKING:
    from optuna.trial import Trial


def suggest(trial: Trial, config: StudyConfig) -> TrainConfig:
    """Ask the sampler for every searched value and build the trial's train config."""
    params: dict[str, Any] = {}
    for key, dimension in config.space.items():
        name = config.short_name(key)
        if isinstance(dimension, Choices):
            choices = [encode_choice(choice) for choice in dimension.choices]
            params[name] = trial.suggest_categorical(name, choices)
        elif isinstance(dimension, FloatRange):
            params[name] = trial.suggest_float(
                name, dimension.low, dimension.high, step=dimension.step, log=dimension.log
            )
        else:
            params[name] = trial.suggest_int(
                name, dimension.low, dimension.high, step=dimension.step, log=dimension.log
            )
    return trial_config(config, params, trial.number)


def trial_config(config: StudyConfig, params: Mapping[str, Any], number: int) -> TrainConfig:
    """The train config of a trial from its stored parameters (short names) and its number."""
    values: dict[str, Any] = {"train.seed": trial_seed(config.study.seed, number)}
    for key, dimension in config.space.items():
        value = params[config.short_name(key)]
        values[key] = _decode(dimension, value) if isinstance(dimension, Choices) else value
    return override(config.base, values, f"trial {number}")


def trial_seed(study_seed: int, number: int, replicate: int = 0) -> int:
    """The training seed of a trial: 32 bits, different for every trial and replicate."""
    return derive_seed(study_seed, "trial", number, replicate) % 2**32


def _decode(dimension: Choices, value: Any) -> Any:
    lists = [choice for choice in dimension.choices if isinstance(choice, tuple)]
    is_list = any(encode_choice(choice) == value for choice in lists)
    return json.loads(value) if is_list else value
