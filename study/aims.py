"""What a study minimises: one score, or distance and imbalance side by side (`objective.mode`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from dcgan.training.run.history import Record
from study.config import ObjectiveConfig, StudyConfig
from study.identity import ATTRIBUTE, check_relaunch

if TYPE_CHECKING:
    from optuna.study import Study

    from study.storage.trial_summaries import TrialSummary

NO_BALANCE = 100.0
"""Imbalance of a run that has not trained yet. Real ones are far below: e^100 is no ratio of
losses, so that not training never counts as being in balance."""


def directions(objective: ObjectiveConfig) -> list[StudyDirection]:
    """Optuna's directions of a new study, one for each value."""
    return [StudyDirection.MINIMIZE] * (2 if objective.mode == "pareto" else 1)


def is_pareto(study: Study) -> bool:
    """Whether a study minimises two values, and so has a front in place of a best trial."""
    return len(study.directions) > 1


def check_mode(study: Study, config: StudyConfig) -> None:
    """Refuse a study that a launch has made in the other mode and not lived to describe.

    Once its identity is recorded, that is compared, and names all that differs.

    Raises:
        StudyMismatchError: it has another number of objectives.
    """
    if ATTRIBUTE not in study.user_attrs:
        key, made = "objective.mode", "pareto" if is_pareto(study) else "score"
        check_relaunch(config.study.name, {key: made}, {key: config.objective.mode})


def score_of(record: Record, objective: ObjectiveConfig) -> float:
    """The distance of one `eval` record, raised by G/D imbalance: one number to rank by."""
    from dcgan.evaluation.metrics.balance import penalised_score

    return penalised_score(
        _distance(record, objective),
        _imbalance(record),
        tolerance=objective.tolerance,
        weight=objective.weight,
        cap=objective.cap,
    )


def values_of(record: Record, objective: ObjectiveConfig) -> tuple[float, ...]:
    """What Optuna is told of a complete trial, from its last `eval` record."""
    if objective.mode == "pareto":
        return _distance(record, objective), _imbalance(record)
    return (score_of(record, objective),)


def facts_of(record: Record, objective: ObjectiveConfig) -> dict[str, Any]:
    """What a trial with two values keeps beside them: its score, and its distance's name.

    Args:
        record: the trial's last `eval` record; empty if there is none.
    """
    if objective.mode == "score" or not record:
        return {}
    return {"score": score_of(record, objective), "metric": record[f"{objective.metric}_metric"]}


def closing_metrics(score: float | None, values: list[float]) -> dict[str, float]:
    """What MLflow shows of a complete trial: the score orders its list in both modes."""
    shown = {} if score is None else {"objective": score}
    if len(values) > 1:
        shown |= {"objective_distance": values[0], "objective_imbalance": values[1]}
    return shown


def trial_score(trial: FrozenTrial | TrialSummary) -> float | None:
    """The score of a trial in either mode; of a pruned one from the epoch it reached."""
    if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
        return None
    if trial.values and len(trial.values) == 1:
        return float(trial.values[0])
    score: float | None = trial.user_attrs.get("score")
    return score


def _distance(record: Record, objective: ObjectiveConfig) -> float:
    return float(record[record[f"{objective.metric}_metric"]])


def _imbalance(record: Record) -> float:
    imbalance = record["imbalance"]
    return NO_BALANCE if imbalance is None else float(imbalance)
