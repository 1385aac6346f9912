"""Dimensions of a search space: ranges and choices, which keys may have them, Optuna's form."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, field_validator, model_validator

from dcgan.config.settings import dotted_keys, get_dotted, nearest, override
from dcgan.config.train_config import Section, TrainConfig
from dcgan.errors import ConfigError

SEARCHABLE_SECTIONS = ("augment.", "loss.", "model.", "optim.", "projected.")
SEARCHABLE_KEYS = ("train.batch_size", "train.ema_half_life_images")
Scalar = bool | int | float | str | None
RangeT = TypeVar("RangeT", "IntRange", "FloatRange")


def _check_range(self: RangeT) -> RangeT:
    low, high = self.low, self.high
    if low > high:
        raise ValueError(f"low must not be above high, but got low {low} and high {high}")
    if self.log and low <= 0:
        raise ValueError(f"low must be above 0 on a log scale, but got {low}")
    if self.step is None or (isinstance(self, IntRange) and self.step == 1):
        return self
    if self.log:
        raise ValueError("step and log exclude each other; leave one out")
    if not _on_grid(high, low, self.step):
        raise ValueError(
            f"high must be low plus a whole number of steps, but got low {low}, step {self.step}, "
            f"high {high}"
        )
    return self


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

    _ordered = model_validator(mode="after")(_check_range)


class FloatRange(Section):
    """Real numbers from `low` to `high`, both included."""

    type: Literal["float"]
    low: float
    """Smallest value."""
    high: float
    """Largest value."""
    step: float | None = Field(None, gt=0.0)
    """Only `low` plus a multiple of this is proposed; excludes `log`. null: any value."""
    log: bool = False
    """Search each order of magnitude equally often."""

    _ordered = model_validator(mode="after")(_check_range)


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

    @property
    def stored(self) -> dict[Scalar, Any]:
        """Each choice as Optuna stores it → as YAML holds it."""
        return {encode_choice(choice): plain_value(choice) for choice in self.choices}


Dimension = Annotated[IntRange | FloatRange | Choices, Field(discriminator="type")]


def encode_choice(choice: Any) -> Scalar:
    """A choice as Optuna can store it: scalars as they are, lists as JSON text."""
    return json.dumps(choice) if isinstance(choice, tuple) else choice


def plain(value: Any) -> str:
    """A parameter as a person writes it: four digits are enough to recognise it."""
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def to_optuna(key: str, dimension: Dimension, value: Any, base: TrainConfig) -> Any:
    """A train value in the form Optuna stores for a dimension (a choice keeps its spelling).

    Raises:
        LookupError: the value is not a point of the dimension.
    """
    if isinstance(dimension, Choices):
        wanted = _normal(base, key, value)
        for stored, choice in dimension.stored.items():
            if _normal(base, key, choice) == wanted:
                return stored
    elif isinstance(value, int | float) and not isinstance(value, bool):
        on_grid = dimension.step is None or _on_grid(value, dimension.low, dimension.step)
        if on_grid and dimension.low <= value <= dimension.high:
            return round(value) if isinstance(dimension, IntRange) else float(value)
    raise LookupError(key)


def _normal(base: TrainConfig, key: str, value: Any) -> Any:
    """A value as the train config holds it: 0 and [0, 0] are the same blur_sigma."""
    return get_dotted(override(base, {key: value}, "space"), key)


def plain_value(value: Any) -> Any:
    """A config value as YAML holds it: a list in place of a tuple."""
    return list(value) if isinstance(value, tuple) else value


def _on_grid(value: float, low: float, step: float) -> bool:
    steps = (value - low) / step
    return math.isclose(steps, round(steps), abs_tol=1e-8)


def check_dimension(key: str, dimension: Dimension, base: TrainConfig) -> None:
    """Raise ValueError if a key cannot be searched, or refuses a value of its dimension."""
    valid = [name for name in dotted_keys(TrainConfig) if is_searchable(name)]
    if key not in valid:
        if key in dotted_keys(TrainConfig):
            raise ValueError(
                f"space: {key} cannot be searched, because trials that differ in it cannot be "
                "compared; set it under base"
            )
        raise ValueError(f"space: there is no train setting '{key}'{nearest(key, valid)}")
    if isinstance(dimension, Choices):
        values = list(dimension.stored.values())
    else:
        values = [dimension.low, dimension.high]
        if isinstance(dimension, FloatRange) and dimension.step is None:
            # A whole-number setting refuses this point, so it cannot be searched as a real one.
            values.append(dimension.low + 0.382 * (dimension.high - dimension.low))
    for value in values:
        try_override(base, {key: value}, "space")


def is_searchable(key: str) -> bool:
    """Whether trials that differ in a train key can be compared."""
    return key.startswith(SEARCHABLE_SECTIONS) or key in SEARCHABLE_KEYS


def try_override(base: TrainConfig, values: Mapping[str, Any], source: str) -> None:
    """Raise ValueError, which pydantic expects, if the config refuses these dotted values."""
    try:
        override(base, values, source)
    except ConfigError as error:
        raise ValueError(error) from None
