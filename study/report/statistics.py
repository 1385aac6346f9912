"""What a study's trials say about its parameters, with what chance alone would give."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.trial import FrozenTrial
from scipy import stats

from study.config.dimensions import Choices, Dimension, FloatRange, IntRange

ENOUGH = 10
"""Complete trials below which nothing is said about parameters."""
RESAMPLES = 12
MOST = 300
"""Trials that the importance is computed from; more would take long and change little."""
EDGE = 0.05
"""A best value within this part of a range's end asks for a wider range."""


class Effect(NamedTuple):
    """What a value of a choice does to the score, beside all trials with another value."""

    name: str
    value: Any
    change: float
    """Relative change of the score; negative is better."""
    low: float
    high: float
    """Its 95 % interval (Welch's t of logarithms)."""
    trials: int
    others: int

    @property
    def verdict(self) -> str:
        """`helps`, `hurts`, or `undecided` if the interval holds 0."""
        if self.low <= 0 <= self.high:
            return "undecided"
        return "helps" if self.change < 0 else "hurts"


class Edge(NamedTuple):
    """A parameter whose best value lies at the end of its range."""

    name: str
    value: float
    low: float
    high: float
    proposal: tuple[float, float]
    """The range to search next."""


class Interval(NamedTuple):
    """A number with its limits."""

    value: float
    low: float
    high: float


def choice_effects(trials: Sequence[FrozenTrial], space: Mapping[str, Dimension]) -> list[Effect]:
    """The effect of every value of every choice, for values that at least two trials have.

    Other parameters differ between the trials, so this is what the study happened to see, and no
    controlled experiment. Scores must be positive.
    """
    found = []
    for name, dimension in space.items():
        if not isinstance(dimension, Choices):
            continue
        values = list(dimension.stored)
        for value in values[1:] if len(values) == 2 else values:
            of_it = _log_scores(trial for trial in trials if trial.params.get(name) == value)
            others = _log_scores(
                trial for trial in trials if name in trial.params and trial.params[name] != value
            )
            if min(len(of_it), len(others)) < 2:
                continue
            test = stats.ttest_ind(of_it, others, equal_var=False)
            limits = test.confidence_interval(0.95)
            change = float(np.expm1(np.mean(of_it) - np.mean(others)))
            if not math.isnan(limits.low):
                low, high = float(np.expm1(limits.low)), float(np.expm1(limits.high))
                found.append(Effect(name, value, change, low, high, len(of_it), len(others)))
    return found


def _log_scores(trials: Any) -> list[float]:
    return [math.log(trial.values[0]) for trial in trials if trial.values[0] > 0]


def edges(best: Mapping[str, Any], space: Mapping[str, Dimension]) -> list[Edge]:
    """Ranges at whose end the best trial lies, each with a wider one."""
    found = []
    for name, dimension in space.items():
        if not isinstance(dimension, IntRange | FloatRange) or name not in best:
            continue
        low, high = float(dimension.low), float(dimension.high)
        value, whole = float(best[name]), isinstance(dimension, IntRange)
        if high == low:
            continue
        scale = math.log if dimension.log else float
        where = (scale(value) - scale(low)) / (scale(high) - scale(low))
        if EDGE < where < 1 - EDGE:
            continue
        if dimension.log:
            wider = (low / 3, high) if where <= EDGE else (low, high * 3)
        else:
            span = high - low
            wider = (max(low - span, 0.0), high) if where <= EDGE else (low, high + span)
        if whole:
            wider = (max(1.0, float(round(wider[0]))), float(round(wider[1])))
        if wider != (low, high):
            found.append(Edge(name, value, low, high, wider))
    return found


def importances(trials: Sequence[FrozenTrial], seed: int = 0) -> dict[str, Interval]:
    """Share of the scores' variance that each parameter explains, most important first.

    fANOVA of Optuna (Hutter et al. 2014). Limits are the smallest and largest of `RESAMPLES`
    bootstrap samples of the trials. Empty with fewer than `ENOUGH` trials.
    """
    if len(trials) < ENOUGH:
        return {}
    generator = np.random.default_rng(seed)
    chosen = list(trials)
    if len(chosen) > MOST:
        chosen = [chosen[i] for i in generator.choice(len(chosen), MOST, replace=False)]
    whole = _importance(chosen)
    drawn = [
        _importance([chosen[i] for i in generator.integers(len(chosen), size=len(chosen))])
        for _ in range(RESAMPLES)
    ]
    return {
        name: Interval(
            value,
            min(value, *(sample.get(name, 0.0) for sample in drawn)),
            max(value, *(sample.get(name, 0.0) for sample in drawn)),
        )
        for name, value in whole.items()
    }


def _importance(trials: Sequence[FrozenTrial]) -> dict[str, float]:
    """fANOVA of trials whose distributions may have been widened during the study."""
    widest: dict[str, Any] = {}
    for trial in trials:
        for name, given in trial.distributions.items():
            known = widest.get(name, given)
            lower = getattr(given, "low", 0) < getattr(known, "low", 0)
            higher = getattr(given, "high", 0) > getattr(known, "high", 0)
            widest[name] = given if lower or higher else known
    shared = set.intersection(*(set(trial.params) for trial in trials))
    study = optuna.create_study()
    for trial in trials:
        study.add_trial(
            optuna.trial.create_trial(
                params={name: trial.params[name] for name in trial.params if name in shared},
                distributions={name: widest[name] for name in trial.params if name in shared},
                value=trial.values[0],
            )
        )
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=24, seed=0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
    except (RuntimeError, ValueError):  # all scores or all values of a parameter are equal
        return {}


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> Interval | None:
    """Spearman's rank correlation with its 95 % interval (Bonett & Wright 2000).

    None with fewer than `ENOUGH` pairs, or if all values of one are equal.
    """
    if len(first) < ENOUGH or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    rho = float(stats.spearmanr(first, second).statistic)
    if abs(rho) >= 1:
        return Interval(rho, rho, rho)
    half = 1.96 * math.sqrt((1 + rho**2 / 2) / (len(first) - 3))
    centre = math.atanh(rho)
    return Interval(rho, math.tanh(centre - half), math.tanh(centre + half))
