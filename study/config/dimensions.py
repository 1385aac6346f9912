"""Dimensions of a search space: ranges and choices, what may be searched, how Optuna stores it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from dcgan.config.settings import dotted_keys, get_dotted, nearest, override
from dcgan.config.train_config import Section, TrainConfig
from dcgan.errors import ConfigError

SEARCHABLE_SECTIONS = ("augment.", "model.", "optim.")
SEARCHABLE_KEYS = ("train.batch_size", "train.ema_half_life_images")
Scalar = bool | int | float | str | None
Number = Annotated[float, Field(allow_inf_nan=False)]


class IntRange(Section):
    """Whole numbers from `low` to `high`, both included."""

    type: Literal["int"]
    low: int
    """Smallest value."""
    high: int
    """Largest value."""
    step: int = Field(1, ge=1)
    """Only `low` plus a multiple of this is proposed; excludes `log`."""
    log: bool = False
    """Search each order of magnitude equally often."""

    @model_validator(mode="after")
    def _ordered(self) -> IntRange:
        _check_range(self.low, self.high, self.log, self.step if self.step != 1 else None)
        return self


class FloatRange(Section):
    """Real numbers from `low` to `high`, both included."""

    type: Literal["float"]
    low: Number
    """Smallest value."""
    high: Number
    """Largest value."""
    step: float | None = Field(None, gt=0.0)
    """Only `low` plus a multiple of this is proposed; excludes `log`. null: any value."""
    log: bool = False
    """Search each order of magnitude equally often."""

    @model_validator(mode="after")
    def _ordered(self) -> FloatRange:
        _check_range(self.low, self.high, self.log, self.step)
        return self


class Choices(Section):
    """One of a list of values, as in [0, 10] for a switch. The order never changes in a study."""

    type: Literal["categorical"]
    choices: tuple[Scalar | tuple[Scalar, ...], ...] = Field(min_length=1)
    """The values, each as the train config spells it."""

    @field_validator("choices")
    @classmethod
    def _distinct(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if len({encode_choice(choice) for choice in value}) < len(value):
            raise ValueError("must not name a value twice")
        return value


Dimension = Annotated[IntRange | FloatRange | Choices, Field(discriminator="type")]


def encode_choice(choice: Any) -> Scalar:
    """A choice as Optuna can store it: scalars as they are, lists as JSON text."""
    return json.dumps(choice) if isinstance(choice, list | tuple) else choice


def to_optuna(key: str, dimension: Dimension, value: Any, base: TrainConfig) -> Any:
    """A train value in the form Optuna stores for a dimension (a choice keeps its spelling)."""
    if isinstance(dimension, Choices):
        wanted = _normal(base, key, value)
        same = [item for item in dimension.choices if _normal(base, key, item) == wanted]
        return encode_choice(same[0])
    return int(value) if isinstance(dimension, IntRange) else float(value)


def _normal(base: TrainConfig, key: str, value: Any) -> Any:
    """A value as the train config holds it: 0 and [0, 0] are the same blur_sigma."""
    return get_dotted(override(base, {key: plain_value(value)}, "space"), key)


def plain_value(value: Any) -> Any:
    """A config value as YAML holds it: a list in place of a tuple."""
    return list(value) if isinstance(value, tuple) else value


def _check_range(low: float, high: float, log: bool, step: float | None) -> None:
    if low > high:
        raise ValueError(f"low must not be above high, but got low {low} and high {high}")
    if log and low <= 0:
        raise ValueError(f"low must be above 0 on a log scale, but got {low}")
    if log and step is not None:
        raise ValueError("step and log exclude each other; leave one out")
    if step is not None and not _on_grid(high, low, step):
        raise ValueError(
            f"high must be low plus a whole number of steps, but got low {low}, step {step}, "
            f"high {high}"
        )


def _on_grid(value: float, low: float, step: float) -> bool:
    steps = (value - low) / step
    return math.isclose(steps, round(steps), abs_tol=1e-8)


def check_dimension(key: str, dimension: Dimension, base: TrainConfig) -> None:
    """Refuse a dimension of an unknown or unsearchable key, or with values that the key refuses.

    Raises:
        ValueError: says what is wrong.
    """
    valid = [name for name in dotted_keys(TrainConfig) if is_searchable(name)]
    if key not in valid:
        if key in dotted_keys(TrainConfig):
            raise ValueError(
                f"space: {key} cannot be searched, because trials that differ in it cannot be "
                "compared; set it under base"
            )
        raise ValueError(f"space: there is no train setting '{key}'{nearest(key, valid)}")
    if isinstance(dimension, Choices):
        values = [plain_value(choice) for choice in dimension.choices]
    else:
        values = [dimension.low, dimension.high]
        if isinstance(dimension, FloatRange) and dimension.step is None:
            # A point in between refuses a search of a whole-number setting as a real one.
            values.append(dimension.low + 0.382 * (dimension.high - dimension.low))
    for value in values:
        try_override(base, {key: value}, "space")


def is_searchable(key: str) -> bool:
    """Whether trials that differ in a train key can be compared."""
    return key.startswith(SEARCHABLE_SECTIONS) or key in SEARCHABLE_KEYS


def contains(key: str, dimension: Dimension, value: Any, base: TrainConfig) -> bool:
    """Whether a train value is a point of a dimension."""
    if isinstance(dimension, Choices):
        wanted = _normal(base, key, value)
        return any(_normal(base, key, choice) == wanted for choice in dimension.choices)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if isinstance(dimension, IntRange) and value != int(value):
        return False
    on_grid = dimension.step is None or _on_grid(value, dimension.low, dimension.step)
    return dimension.low <= value <= dimension.high and on_grid


def try_override(base: TrainConfig, values: Mapping[str, Any], source: str) -> None:
    """Raise ValueError (as pydantic wants it) if the config refuses these dotted values."""
    try:
        override(base, values, source)
    except ConfigError as error:
        raise ValueError(str(error)) from None
