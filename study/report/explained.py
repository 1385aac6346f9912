"""What a study's trials say of the search itself, without training anything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from dcgan.evaluation.record import EvalRecord
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import read_evals
from study.config.dimensions import Choices, Dimension, check_dimension
from study.config.study_config import StudyConfig
from study.evidence.agreement import ENOUGH, FEW, Interval, Step, ladder, rank_correlation
from study.evidence.audit import Audit, audit
from study.evidence.failing import Part, failing_parts
from study.evidence.race import FEWEST_SEEDS, USUAL
from study.evidence.variance import Budget, budget
from study.report.statistics import Edge, Importance, edges, importances
from study.results.compared import compared
from study.results.confirmed import Confirmation
from study.results.winner import Winner, final_noise, winner_of
from study.storage.attributes import study_config
from study.storage.store import Store
from study.storage.trial_result import DOOMED, REVIVED, TrialResult

LAST_SCORES = 6
"""Scores of each trial from which the noise of checkpoints is estimated."""
NO_DISTANCES = ("_low", "_high", "_ema", "_raw", "_standard_error", "_times_floor")


@dataclass(frozen=True)
class Other:
    """Another number by which the trials could be ranked."""

    name: str
    correlation: Interval
    """Of the ranks with those by the score."""
    best: int
    """The trial that is best by it."""


@dataclass(frozen=True)
class FullRun:
    """Configs that were confirmed, and their scores in the search."""

    configs: int
    seeds: int
    """The fewest on which one of them was trained."""
    epochs: int
    """Length of these trainings."""
    steps: list[Step]
    """How well the order at an epoch of the search agrees with the confirmed one."""


@dataclass(frozen=True)
class Explained:
    """What is known; what needs more trials is empty or None."""

    study: str
    complete: int
    """Trials that all but what parameters do rests on."""
    compared: int
    """Trials that tell what parameters do: on rungs more than the complete ones."""
    rests_on: str
    """Which these are, in words."""
    importance: dict[str, Importance]
    no_effect_seen: list[str]
    """Parameters whose importance chance explains as well."""
    edges: list[Edge]
    failing: list[Part]
    variance: Budget | None
    repeated: int
    """Repeated trainings that the noise between seeds was measured on; 0: it is assumed."""
    winner: Winner | None
    """The best trial, and what it is expected to score on other seeds."""
    audit: Audit | None
    """Trials that the pruner would have stopped, which trained on."""
    ladder: list[Step]
    full_run: FullRun | None
    """How well the search's order agrees with the confirmed one."""
    balance: Interval | None
    """Rank correlation of imbalance and distance."""
    others: list[Other]
    best: int | None
    """The trial with the lowest score."""

    @property
    def bests(self) -> dict[int, list[str]]:
        """Trials that are best by the score or another metric → its names; empty if it is one."""
        found: dict[int, list[str]] = {} if self.best is None else {self.best: ["score"]}
        for other in self.others:
            found.setdefault(other.best, []).append(other.name)
        return found if len(found) > 1 else {}

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for scripts."""
        plain = asdict(self)
        if self.winner:
            plain["winner"] = self.winner.as_dict()
        if self.variance:
            shares = {"config": self.variance.config, "reliability": self.variance.reliability}
            plain["variance"] |= shares
        return plain


def explain(study: Study, store: Store) -> Explained:
    """Explain a study. Raises `StudyError` for a study that has not begun."""
    config, trials = study_config(study), study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.values]
    ranked = sorted(complete, key=lambda trial: (trial.values[0], trial.number))
    folder = store.study(study.study_name)
    histories = {it.number: RunFolder(folder.trial(it.number)).history for it in complete}
    evals = {number: read_evals(path) for number, path in histories.items()}
    alike = compared(config, trials)
    important, minimised = importances(alike.trials), _minimised(config, evals)
    noise, counted = final_noise(study), _records(ranked, evals)
    single = config.objective.mode == "score" and len(alike.trials) >= ENOUGH and bool(ranked)
    return Explained(
        study.study_name,
        len(complete),
        len(alike.trials),
        str(alike),
        important,
        [name for name, it in important.items() if not it.above_chance],
        _edges(config, ranked[0].params) if single else [],
        _failing(config, trials),
        _variance(ranked, evals, noise.spread, minimised),
        round(noise.weight - USUAL.weight),
        winner_of(study, noise),
        _audit(trials) if config.objective.mode == "score" else None,
        ladder([(trial.intermediate_values, trial.values[0]) for trial in complete]),
        full_run(trials, Confirmation.read(study)),
        _balance(config, complete),
        _others(ranked, counted, minimised),
        ranked[0].number if ranked else None,
    )


def _minimised(config: StudyConfig, evals: Mapping[int, Sequence[EvalRecord]]) -> str | None:
    """The name of the distance that the score is made of; None before any."""
    for record in (record for records in evals.values() for record in records):
        frechet = config.objective.metric == "frechet"
        return record.frechet_metric if frechet else record.kernel_metric
    return None


def _edges(config: StudyConfig, best: Mapping[str, Any]) -> list[Edge]:
    """Ranges at whose end the best trial lies, each with a wider one that may be searched."""
    keys = {config.short_name(key): key for key in config.space}

    def allowed(name: str, wider: Dimension) -> bool:
        try:
            check_dimension(keys[name], wider, config.base)
        except ValueError:
            return False
        return True

    return edges(best, {name: config.space[key] for name, key in keys.items()}, allowed)


def _failing(config: StudyConfig, trials: Sequence[FrozenTrial]) -> list[Part]:
    ended = [trial for trial in trials if trial.state.is_finished() and trial.params]
    ranges = [
        config.short_name(key)
        for key, dimension in config.space.items()
        if not isinstance(dimension, Choices)
    ]
    return failing_parts([trial.params for trial in ended], [_failed(it) for it in ended], ranges)


def _failed(trial: FrozenTrial) -> bool:
    """Whether a trial collapsed, diverged or failed, and was not stopped for its score."""
    return trial.state == TrialState.FAIL or TrialResult.from_trial(trial).has_collapsed


def _audit(trials: Sequence[FrozenTrial]) -> Audit | None:
    doomed, others = list[float](), list[float]()
    for trial in trials:
        complete = trial.state == TrialState.COMPLETE and trial.values
        score = trial.values[0] if complete else math.inf
        if trial.user_attrs.get(DOOMED) is not None and trial.state.is_finished():
            doomed.append(score)
        elif complete and not trial.user_attrs.get(REVIVED):
            others.append(score)
    return audit(doomed, others)


def _variance(
    complete: Sequence[FrozenTrial],
    evals: Mapping[int, Sequence[EvalRecord]],
    spread: float,
    name: str | None,
) -> Budget | None:
    """The budget of complete trials' scores; None if a score is not positive."""
    finals = [trial.values[0] for trial in complete]
    if any(score <= 0 for score in finals):
        return None
    intervals, curves = [], []
    for records in evals.values():
        for record in records[-1:]:
            low, high = (record.metrics.get(f"{name}_{end}") for end in ("low", "high"))
            if low and high:
                intervals.append((low, high))
        course = [record.metrics.get(name or "", 0.0) for record in records[-LAST_SCORES:]]
        if all(score > 0 for score in course):
            curves.append(course)
    return budget(finals, spread, intervals, curves)


def _balance(config: StudyConfig, complete: Sequence[FrozenTrial]) -> Interval | None:
    """Of the distance, not of the score, of which the imbalance may be a part."""
    kinds = ("fd_", "fid") if config.objective.metric == "frechet" else ("kd_", "kid")
    pairs = [
        (distance, row.imbalance)
        for row in map(TrialResult.from_trial, complete)
        for name, distance in row.distances.items()
        if name.startswith(kinds) and row.imbalance is not None
    ]
    return rank_correlation([a for a, _ in pairs], [b for _, b in pairs])


def _records(
    ranked: Sequence[FrozenTrial], evals: Mapping[int, Sequence[EvalRecord]]
) -> dict[int, EvalRecord]:
    """Trial → the evaluation that counts, else its last one."""
    found = {}
    for trial in ranked:
        epoch, records = trial.user_attrs.get("epoch"), evals[trial.number]
        if records:
            found[trial.number] = next((it for it in records if it.epoch == epoch), records[-1])
    return found


def full_run(trials: Sequence[FrozenTrial], confirmed: Confirmation | None) -> FullRun | None:
    """None unless `FEW` configs were confirmed."""
    if confirmed is None or confirmed.standings is None:
        return None
    known = [it for it in confirmed.scored if len(it.scores) >= FEWEST_SEEDS]
    courses = {trial.number: trial.intermediate_values for trial in trials}
    pairs = [(courses[it.trial], confirmed.expected(it).value) for it in known]
    steps = ladder(pairs, FEW)
    fewest = min((len(it.scores) for it in known), default=0)
    return FullRun(len(known), fewest, confirmed.epochs, steps) if steps else None


def _others(
    ranked: Sequence[FrozenTrial], records: Mapping[int, EvalRecord], minimised: str | None
) -> list[Other]:
    """Other numbers than the distance that is minimised."""
    scores = {trial.number: trial.values[0] for trial in ranked}
    found = []
    for name in dict.fromkeys(key for record in records.values() for key in record.metrics):
        distance = name.startswith(("fd_", "kd_", "fid", "kid")) and not name.endswith(NO_DISTANCES)
        if name == minimised or not (distance or name == "recognised"):
            continue
        sign = -1.0 if name == "recognised" else 1.0
        values = {n: sign * it.metrics[name] for n, it in records.items() if name in it.metrics}
        correlation = rank_correlation([scores[n] for n in values], list(values.values()))
        if correlation:
            found.append(Other(name, correlation, min(values, key=lambda n: (values[n], n))))
    return found
