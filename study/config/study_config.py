"""The configuration of a study: what is searched, how trials are scored, chosen and stopped.

`base` is the train config of a trial; the search space and the baselines use its dotted keys.
This is the only place where a study's defaults are written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise, product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from dcgan.config.settings import dotted_keys, get_dotted, nearest, override, validate
from dcgan.config.train_config import (
    MAX_SEED,
    PATHS,
    Section,
    TrainConfig,
    absolute_path,
    refuse_program,
)
from dcgan.config.yaml_files import find_config, read_yaml
from dcgan.errors import ConfigError
from study.config.baselines import Baseline, on_seeds
from study.config.dimensions import (
    Choices,
    Dimension,
    check_dimension,
    plain_value,
    to_optuna,
    try_override,
)

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class StudySection(Section):
    """The study's name and size."""

    name: str = "study"
    """Names its MLflow experiment and its folder: letters, digits, dot, dash, underscore."""
    trials: int = Field(30, ge=1, le=1_000_000)
    """The study's total, however often it is launched (`--trials`)."""
    seed: int = Field(0, ge=0, le=MAX_SEED)
    """Seed of the sampler and of every trial's training."""
    timeout_minutes: float | None = Field(None, gt=0)
    """Start no trial, and pause running ones, after this many minutes; null: no limit."""
    max_hours: float | None = Field(None, gt=0)
    """Start no trial, and pause running ones, once all trials together have taken so many hours, on
    all workers and in all launches (`--max-hours`); null: no limit."""
    stop: Literal["when_no_gain"] | None = None
    """`when_no_gain`: end before the total when the trials that are left would, with 90 %
    probability, lower the best score by less than the noise between seeds."""
    workers: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = 1
    """Trials that run at the same time, each in its own process (`--workers`). `auto`: one per GPU
    (times `trials_per_gpu`); on a CPU as many as a short measurement finds fastest."""
    trials_per_gpu: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = 1
    """How many workers may share a GPU (`--trials-per-gpu`). `auto`: as many as a launch finds
    fastest together, of 1, 2, 4 and 8."""
    launcher: str = "auto"
    """What runs the trials (`--launcher`): `here` (one after the other, in this process),
    `processes` (several workers on this machine), `ray` (workers on a Ray cluster), or `auto`:
    `processes` for more than one worker."""
    address: str | None = None
    """Of the Ray cluster (`--address`): `auto`, `HOST:PORT` or `ray://HOST:PORT`; null: one of this
    machine alone."""

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if value == "Default":
            raise ValueError("must not be Default, which is MLflow's own experiment")
        if not NAME_PATTERN.fullmatch(value):
            raise ValueError(
                "must be a plain name of letters, digits, dots, dashes and underscores, at "
                "most 100, not a path"
            )
        return value


class ObjectiveConfig(Section):
    """score = distance × (1 + min(cap, weight × max(0, imbalance − tolerance))), minimised."""

    mode: Literal["score", "pareto"] = "score"
    """What is minimised. `score`: one value. `pareto`: distance and imbalance as two objectives;
    the study then ends with a Pareto front, and prunes trials that others beat in both."""
    recognised: bool = False
    """Pareto mode also maximises the share of recognised images, as a third value."""
    metric: Literal["frechet", "kernel"] = "frechet"
    """The distance to the photos: Fréchet (`fd_…`, FID) or kernel (`kd_…`, KID)."""
    tolerance: float = Field(1.5, ge=0.0)
    """Up to this |ln(loss_G / loss_D)| the score equals the distance."""
    weight: float = Field(0.05, ge=0.0)
    """Penalty for each unit of imbalance beyond the tolerance, as a fraction of the distance."""
    cap: float = Field(0.05, ge=0.0)
    """Largest penalty, as a fraction of the distance."""

    @model_validator(mode="after")
    def _third_of_several(self) -> ObjectiveConfig:
        if self.recognised and self.mode != "pareto":
            raise ValueError(
                "recognised adds a third value to pareto mode, but mode is score; set "
                "objective.mode to pareto, or leave objective.recognised out"
            )
        return self


class SamplerConfig(Section):
    """What proposes the next trial's parameters."""

    name: Literal["tpe", "gp", "cmaes", "qmc", "random"] = "tpe"
    """`tpe`: Optuna's TPE, which learns from finished trials, stopped ones included. `gp`: a
    Gaussian process, which learns from complete ones. `cmaes`: CMA-ES, for ranges; choices are
    drawn at random. `qmc`: a Sobol sequence, which fills the space evenly. `random`: independent
    draws."""
    startup_trials: int = Field(10, ge=1)
    """Random trials are proposed until this many, baselines included, have finished (tpe) or are
    complete (gp, cmaes)."""


class NoiseConfig(Section):
    """How the noise between seeds is measured, beyond which alone the pruner stops a trial."""

    seeds: int = Field(1, ge=1, le=10)
    """Trainings of each baseline, each on its own seed; they count as trials. With 1, the noise
    comes from earlier studies of the same photos, or is assumed."""
    assumed: float = Field(0.15, ge=0.0, le=2.0)
    """Standard deviation of ln(score) between seeds of one config, as long as none is measured; it
    counts as much as four repeated trainings. 0: pruners take any difference for real."""


class PrunerConfig(Section):
    """What stops trials that cannot win: they are behind by more than the noise between seeds.
    Baselines are never pruned."""

    name: Literal["median", "percentile", "hyperband", "successive_halving", "patient", "none"] = (
        "median"
    )
    """`median` and `percentile` compare a trial with others at the same epoch. `hyperband` and
    `successive_halving` give more epochs to better trials. `patient` stops a trial whose own score
    stops improving. `none`: no pruning, the default with rungs (`budget.images`)."""
    startup_trials: int = Field(5, ge=0)
    """Trials that must be complete before any is pruned (median, percentile)."""
    warmup_epochs: int = Field(0, ge=0)
    """First epoch of a trial at which it may be pruned (median, percentile)."""
    percentile: float = Field(25.0, ge=0.0, le=100.0)
    """Keep a trial while its best score is in this best percentile (percentile)."""
    min_epochs: int = Field(1, ge=1)
    """Smallest budget of a bracket (hyperband, successive_halving)."""
    reduction_factor: int = Field(3, ge=2)
    """Factor between a bracket's budgets (hyperband, successive_halving)."""
    audit: float = Field(0.1, ge=0.0, le=1.0)
    """Share of the trials that train on where they would be stopped, drawn by chance: they tell
    how often the pruner is wrong (`study explain`). Not in pareto mode."""
    patience_scores: int = Field(3, ge=1)
    """Stop a trial once this many scores and one more are worse than its best before (patient)."""


class BudgetConfig(Section):
    """Rungs: every trial trains to the first, and the best go on to the next from there."""

    images: tuple[int, ...] = ()
    """Images that a trial has seen at the end of each rung, ascending; the last is its full length
    and takes the place of `base.train.epochs`. A rung ends at the first score from there on.
    Empty: no rungs, every trial may train to its end."""
    keep: float = Field(1 / 2, gt=0.0, lt=1.0)
    """The share of the proposed trials on a rung that go on to the next, as in 1/2 or 0.25.
    Baselines do not wait on rungs, and take no place there."""
    epochs: tuple[int, ...] = ()
    """The epochs at which the rungs end. Leave it out: the number of photos gives it."""

    @field_validator("images")
    @classmethod
    def _ascending(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if value and (value[0] < 1 or any(low >= high for low, high in pairwise(value))):
            raise ValueError(f"must be ascending numbers of images, but got {list(value)}")
        return value

    @model_validator(mode="after")
    def _epochs_of_images(self) -> BudgetConfig:
        ascending = all(low < high for low, high in pairwise((0, *self.epochs)))
        if self.epochs and (len(self.epochs) != len(self.images) or not ascending):
            raise ValueError(
                "budget.epochs follows from budget.images and the number of photos; leave it out"
            )
        return self

    @field_validator("keep", mode="before", json_schema_input_type=float | str)
    @classmethod
    def _fraction(cls, value: Any) -> Any:
        if isinstance(value, str):
            with suppress(ValueError, ZeroDivisionError):
                return float(Fraction(value.replace(" ", "")))
        return value


class CollapseConfig(Section):
    """What stops collapsed trials: D has won, a loss diverges, or G makes only one image."""

    patience_epochs: int = Field(3, ge=0)
    """Epochs for which one of these must last before the trial is stopped; 0: never stop one."""


class CheckpointsConfig(Section):
    """Which trials keep their checkpoints (last and best); all other files are always kept."""

    keep: int = Field(5, ge=0)
    """How many of the best complete trials keep their checkpoints. Unfinished trials always keep
    theirs."""
    keep_pruned: int = Field(3, ge=0)
    """How many of the best pruned trials keep theirs, from which `study revive` goes on."""


class StudyConfig(Section):
    """One study. `space` and `base` matter most; everything else has a sensible default."""

    study: StudySection = StudySection()
    objective: ObjectiveConfig = ObjectiveConfig()
    space: dict[str, Dimension] = Field(min_length=1)
    """What is searched: dotted train keys of `augment`, `loss`, `model`, `optim` and `projected`,
    `train.batch_size` and `train.ema_half_life_images`, each with a range or choices."""
    sampler: SamplerConfig = SamplerConfig()
    pruner: PrunerConfig = PrunerConfig()
    noise: NoiseConfig = NoiseConfig()
    budget: BudgetConfig = BudgetConfig()
    collapse: CollapseConfig = CollapseConfig()
    checkpoints: CheckpointsConfig = CheckpointsConfig()
    baselines: tuple[Baseline, ...] = ()
    """Known configurations, run before the sampler proposes any."""
    base: TrainConfig = TrainConfig()
    """The train config that all trials share, apart from the searched keys."""
    full_run: dict[str, Any] = Field(default_factory=dict)
    """Dotted train keys whose values differ in an exported full run, for example train.epochs."""

    @model_validator(mode="before")
    @classmethod
    def _rungs_instead_of_a_pruner(cls, data: Any) -> Any:
        """Rungs do what a pruner does, so with them one is used only if it is asked for."""
        if isinstance(data, dict) and "pruner" not in data and isinstance(data.get("budget"), dict):
            return {**data, "pruner": {"name": "none"}} if data["budget"].get("images") else data
        return data

    @model_validator(mode="after")
    def _consistent(self) -> StudyConfig:
        for key, dimension in self.space.items():
            check_dimension(key, dimension, self.base)
        self._check_projected()
        for baseline in self.baselines:
            self.baseline_params(baseline)
        if self.sampler.name == "cmaes" and self.objective.mode == "pareto":
            raise ValueError(
                "sampler.name: cmaes cannot propose for several objectives, but objective.mode is "
                "pareto; use tpe or gp"
            )
        halves = self.pruner.name in ("hyperband", "successive_halving")
        if halves and self.pruner.min_epochs > self.base.train.epochs:
            raise ValueError(
                f"pruner.min_epochs must not be above base.train.epochs, but got "
                f"{self.pruner.min_epochs} and {self.base.train.epochs}"
            )
        if self.study.stop and self.objective.mode == "pareto":
            raise ValueError(
                "study.stop: when_no_gain compares one score, but objective.mode is pareto; leave "
                "study.stop out, or use mode score"
            )
        if self.budget.images:
            self._check_budget()
        try_override(self.base, self.full_run, "full_run")
        return self

    def _check_budget(self) -> None:
        if self.objective.mode == "pareto":
            raise ValueError(
                "budget ranks trials by one score, but objective.mode is pareto; use mode score, "
                "or set budget.images to []"
            )
        if self.pruner.name in ("hyperband", "successive_halving"):
            raise ValueError(
                f"budget and pruner.name: {self.pruner.name} both decide how far a trial trains; "
                "leave one of them out"
            )
        if self.base.eval.every_epochs == 0:
            raise ValueError("budget needs scores on the way; set base.eval.every_epochs above 0")

    def _check_projected(self) -> None:
        """Refuse values of `projected` that fit the base but not each other."""
        if "projected" not in possible_values(self, "model.discriminator"):
            return
        sides, scales = (
            possible_values(self, key) for key in ("projected.side", "projected.scales")
        )
        for side, some in product(sides, scales):
            values = {"projected.side": side, "projected.scales": some}
            try_override(self.base, {"model.discriminator": "projected", **values}, "space")

    @field_validator("full_run")
    @classmethod
    def _absolute_paths(cls, values: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        given = {key: values[key] for key in PATHS if isinstance(values.get(key), str)}
        return values | {key: str(absolute_path(Path(text), info)) for key, text in given.items()}

    @property
    def trained_baselines(self) -> list[Baseline]:
        """The baselines with their repetitions (`noise.seeds`), in the order in which they run."""
        return on_seeds(self.baselines, self.noise.seeds, self.study.seed)

    @staticmethod
    def short_name(key: str) -> str:
        """The last part of a searched key (`nz`); no two searchable keys share it."""
        return key.rpartition(".")[2]

    def baseline_params(self, baseline: Baseline) -> dict[str, Any]:
        """Every searched key's value (in Optuna's form) under a baseline.

        Raises:
            ValueError: a key is not searched, or its value is outside the search space.
        """
        where, params = f"baseline '{baseline.name}'", {}
        for key in baseline.params:
            if key not in self.space:
                hint = nearest(key, self.space)
                raise ValueError(f"{where}: '{key}' is not in the search space{hint}")
        for key, dimension in self.space.items():
            value = baseline.params.get(key, plain_value(get_dotted(self.base, key)))
            try_override(self.base, {key: value}, where)
            try:
                params[self.short_name(key)] = to_optuna(key, dimension, value, self.base)
            except LookupError:
                source = "" if key in baseline.params else " (from base)"
                raise ValueError(
                    f"{where}: {key} = {value}{source} is outside the search space; widen it or "
                    "give the baseline another value"
                ) from None
        return params


def load_study_config(
    name: str | os.PathLike[str], settings: Mapping[str, Any] | None = None
) -> StudyConfig:
    """Load a study config (a path or a named config) and apply dotted settings.

    A train key may leave out `base.`, as in `train.epochs=20`.

    Raises:
        ConfigError: the file, a key or a value is wrong.
    """
    path = find_config(name)
    data = read_yaml(path)
    if "space" not in data:
        raise ConfigError(
            f"{path} has no 'space' section: it is not a study config; to train it once use "
            f"'dcgan train {name}'"
        )
    given, section = settings or {}, data.setdefault("study", {})
    if isinstance(section, dict):
        section["name"] = given.get("study.name", section.get("name", path.stem))
    config = validate(StudyConfig, data, str(path), path.parent)
    train_keys = set(dotted_keys(TrainConfig))
    prefixed = {f"base.{key}" if key in train_keys else key: given[key] for key in given}
    config = override(config, prefixed)
    if config.budget.images and not config.budget.epochs and _has_two_lengths(data, prefixed):
        raise ConfigError(
            f"{path}: budget.images says how long a trial trains, so base.train.epochs must be "
            "left out; set the last number of budget.images instead"
        )
    refuse_program(config.base.eval.extractor)
    return config


def _has_two_lengths(data: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether a trial's length in epochs stands beside its budget. A setting may replace it."""
    if "base.train.epochs" in settings:
        return True
    in_file = "epochs" in ((data.get("base") or {}).get("train") or {})
    return in_file and "budget.images" not in settings


def possible_values(config: StudyConfig, key: str) -> list[Any]:
    """Values of a train key in the trials: all choices, both ends of a range, or the base's."""
    dimension = config.space.get(key)
    if dimension is None:
        return [get_dotted(config.base, key)]
    if isinstance(dimension, Choices):
        return list(dimension.stored.values())
    return [dimension.low, dimension.high]


def largest_batch(config: StudyConfig) -> int:
    """The largest batch any trial may have."""
    return int(max(possible_values(config, "train.batch_size")))
