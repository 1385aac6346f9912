"""What a study's trials say about its parameters, with what chance alone would give."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.trial import FrozenTrial
from scipy import stats

from study.config.dimensions import Choices, Dimension, FloatRange, IntRange
from study.evidence.agreement import ENOUGH

RESAMPLES = 19
MOST = 100
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


@dataclass(frozen=True)
class Edge:
    """A parameter whose best value lies at the end of its range."""

    name: str
    value: float
    low: float
    high: float
    proposal: tuple[float, float]
    """The range to search next."""


def choice_effects(trials: Sequence[FrozenTrial], space: Mapping[str, Dimension]) -> list[Effect]:
    """The effect of every value of every choice, for values that at least two trials have.

    Other parameters differ between the trials, so this is what the study happened to see, and no
    controlled experiment. Empty with fewer than `ENOUGH` trials, or if a score is not positive (a
    kernel distance may be below 0), because effects are factors.
    """
    found: list[Effect] = []
    if len(trials) < ENOUGH or any(trial.values[0] <= 0 for trial in trials):
        return found
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
    return [math.log(trial.values[0]) for trial in trials]


def edges(
    best: Mapping[str, Any],
    space: Mapping[str, Dimension],
    allowed: Callable[[str, Dimension], bool] = lambda name, wider: True,
) -> list[Edge]:
    """Ranges at whose end the best trial lies, each with a wider one.

    `allowed` says whether a wider range may be searched; ranges that cannot be wider are left out.
    """
    found = []
    for name, dimension in space.items():
        if not isinstance(dimension, IntRange | FloatRange) or name not in best:
            continue
        low, high, value = float(dimension.low), float(dimension.high), float(best[name])
        if high == low:
            continue
        scale = math.log if dimension.log else float
        where = (scale(value) - scale(low)) / (scale(high) - scale(low))
        if EDGE < where < 1 - EDGE:
            continue
        for end in _further(dimension, below=where <= EDGE):
            change = {"low" if where <= EDGE else "high": end}
            wider = dimension.model_copy(update=change)
            if wider.low < wider.high and allowed(name, wider):
                found.append(Edge(name, value, low, high, (wider.low, wider.high)))
                break
    return found


def _further(dimension: IntRange | FloatRange, *, below: bool) -> list[Any]:
    """Ends beyond the present one, the farthest first, on the range's own steps."""
    whole = isinstance(dimension, IntRange)
    if dimension.log:
        end = dimension.low / 3 if below else dimension.high * 3
        return [round(end) if whole else end]
    step = dimension.step or (dimension.high - dimension.low)
    steps = max(1, round((dimension.high - dimension.low) / step))
    ends = [
        dimension.low - part * step if below else dimension.high + part * step
        for part in range(steps, 0, -1)
    ]
    return [round(end) for end in ends] if whole else ends


@dataclass(frozen=True)
class Importance:
    """How much of the scores' variance a parameter explains."""

    share: float
    low: float
    high: float
    """The smallest and largest share over bootstrap samples of the trials."""
    chance: float
    """The largest share that any parameter got when the scores were dealt out anew."""

    @property
    def above_chance(self) -> bool:
        """Whether the share says anything.

        If none matters, one is said to in at most 1 of `RESAMPLES` + 1 studies.
        """
        return self.share > self.chance


def importances(trials: Sequence[FrozenTrial], seed: int = 0) -> dict[str, Importance]:
    """Share of the scores' variance that each parameter explains alone, most important first.

    Of the logarithms, unless a score is not positive (a kernel distance may be below 0). By
    fANOVA of Optuna (Hutter et al. 2014), not normalised, over at most `MOST` trials. Empty with
    fewer than `ENOUGH` trials.
    """
    if len(trials) < ENOUGH:
        return {}
    generator = np.random.default_rng(seed)
    chosen = list(trials)
    if len(chosen) > MOST:
        chosen = [chosen[i] for i in generator.choice(len(chosen), MOST, replace=False)]
    scores = [trial.values[0] for trial in chosen]
    if min(scores) > 0:  # one trial that failed would be all of the variance
        scores = [math.log(score) for score in scores]
    whole = _importance(chosen, scores)
    drawn, dealt = [], []
    for _ in range(RESAMPLES):
        sample = generator.integers(len(chosen), size=len(chosen))
        drawn.append(_importance([chosen[i] for i in sample], [scores[i] for i in sample]))
        order = generator.permutation(len(chosen))
        dealt.append(_importance(chosen, [scores[i] for i in order]))
    chance = max((share for sample in dealt for share in sample.values()), default=0.0)
    return {
        name: Importance(
            share,
            min(share, *(sample.get(name, 0.0) for sample in drawn)),
            max(share, *(sample.get(name, 0.0) for sample in drawn)),
            chance,
        )
        for name, share in whole.items()
    }


def _importance(trials: Sequence[FrozenTrial], scores: Sequence[float]) -> dict[str, float]:
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
    for trial, score in zip(trials, scores, strict=True):
        study.add_trial(
            optuna.trial.create_trial(
                params={name: trial.params[name] for name in trial.params if name in shared},
                distributions={name: widest[name] for name in trial.params if name in shared},
                value=score,
            )
        )
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=16, seed=0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return dict(
                optuna.importance.get_param_importances(study, evaluator=evaluator, normalize=False)
            )
    except (RuntimeError, ValueError):  # all scores or all values of a parameter are equal
        return {}
