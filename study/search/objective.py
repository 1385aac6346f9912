"""What a study minimises: one score, or distance and imbalance side by side (`objective.mode`).

Side by side with them it may maximise the share of recognised images (`objective.recognised`).
"""

from __future__ import annotations

import math
from typing import Any

from optuna.study import Study, StudyDirection

from dcgan.config.settings import get_dotted
from dcgan.errors import EvaluationError
from dcgan.evaluation.record import EvalRecord
from study.config.identity import check_relaunch
from study.config.study_config import ObjectiveConfig, StudyConfig
from study.storage.attributes import stored_identity
from study.storage.trial_record import TrialRecord

NO_BALANCE = 100.0
"""Imbalance of a run that has not trained yet: far above that of any trained run."""

VALUES = ("distance", "imbalance", "recognised")
"""Optuna's values of a trial in pareto mode; the last one only with `objective.recognised`."""


def directions(objective: ObjectiveConfig) -> list[StudyDirection]:
    """Optuna's directions of a new study, one for each value."""
    minimised = [StudyDirection.MINIMIZE] * (2 if objective.mode == "pareto" else 1)
    return minimised + [StudyDirection.MAXIMIZE] * objective.recognised


def is_pareto(study: Study) -> bool:
    """Whether a study has several values: it has a Pareto front instead of a best trial."""
    return len(study.directions) > 1


def has_recognised(study: Study) -> bool:
    """Whether the share of recognised images is a study's third value."""
    return len(study.directions) == len(VALUES)


def check_mode(study: Study, config: StudyConfig) -> None:
    """Compare the mode of a study whose first launch ended before it recorded the identity.

    Raises:
        StudyMismatchError: the study has another number of objectives.
    """
    if not stored_identity(study):
        mode = "pareto" if is_pareto(study) else "score"
        made = {"objective.mode": mode, "objective.recognised": has_recognised(study)}
        now = {key: get_dotted(config, key) for key in made}
        check_relaunch(config.study.name, made, now)


def score_of(record: EvalRecord, objective: ObjectiveConfig) -> float:
    """The score of one evaluation: its distance, raised by the imbalance of G and D."""
    return penalised_score(
        _distance(record, objective),
        _imbalance(record),
        tolerance=objective.tolerance,
        weight=objective.weight,
        cap=objective.cap,
    )


def rank_of(record: EvalRecord, objective: ObjectiveConfig) -> float:
    """What is lowest for the best evaluation: the score; with several objectives, the distance."""
    return values_of(record, objective)[0]


def values_of(record: EvalRecord, objective: ObjectiveConfig) -> tuple[float, ...]:
    """What Optuna is told of a complete trial, from the evaluation that counts."""
    if objective.mode == "score":
        return (score_of(record, objective),)
    share = (record.metrics.get("recognised", 0.0),) if objective.recognised else ()
    return _distance(record, objective), _imbalance(record), *share


def eval_attributes(record: EvalRecord, objective: ObjectiveConfig) -> dict[str, Any]:
    """The user attributes that keep a trial's evaluation, except those in Optuna's values."""
    attributes = {
        record.frechet_metric: record.frechet,
        record.kernel_metric: record.kernel,
        "imbalance": record.imbalance,
        "epoch": record.epoch,
        "step": record.step,
    }
    if objective.mode == "score":
        return attributes
    score, metric = score_of(record, objective), _metric(record, objective)
    return attributes | {"score": score, "metric": metric}


def closing_metrics(record: TrialRecord) -> dict[str, float]:
    """The objectives of a complete trial as MLflow shows them, and the epoch of its best score.

    MLflow's list is ordered by the score.
    """
    if record.state != "COMPLETE":
        return {}
    shown = {} if record.score is None else {"objective": record.score}
    if record.best_epoch is not None:
        shown["best_epoch"] = float(record.best_epoch)
    if len(record.values) > 1:
        names = [f"objective_{name}" for name in VALUES]
        shown |= dict(zip(names, record.values, strict=False))
    return shown


def _metric(record: EvalRecord, objective: ObjectiveConfig) -> str:
    return record.frechet_metric if objective.metric == "frechet" else record.kernel_metric


def _distance(record: EvalRecord, objective: ObjectiveConfig) -> float:
    return record.metrics[_metric(record, objective)]


def _imbalance(record: EvalRecord) -> float:
    return NO_BALANCE if record.imbalance is None else record.imbalance


def penalised_score(
    distance: float, imbalance: float, *, tolerance: float, weight: float, cap: float
) -> float:
    """The score of a study, lower is better: the distance, raised by imbalance.

    distance × (1 + min(cap, weight × max(0, imbalance - tolerance)))

    The kernel distance is unbiased and may be below 0. It is then divided by the factor, so that
    imbalance never improves a score.

    Args:
        distance: a Fréchet or kernel distance.
        imbalance: |ln(mean loss_G / mean loss_D)|, >= 0.
        tolerance: imbalance without a penalty, >= 0.
        weight: growth of the factor for each unit of imbalance beyond the tolerance, >= 0.
        cap: the most that is added to the factor, >= 0.

    Raises:
        EvaluationError: a value is not finite, or one other than `distance` is negative.

    Examples:
        >>> penalised_score(8.0, 1.5, tolerance=1.5, weight=0.25, cap=0.25)
        8.0
        >>> penalised_score(8.0, 9.0, tolerance=1.5, weight=0.25, cap=0.25)
        10.0
    """
    settings = {"imbalance": imbalance, "tolerance": tolerance, "weight": weight, "cap": cap}
    for name, value in settings.items():
        if not (math.isfinite(value) and value >= 0.0):
            raise EvaluationError(f"{name} must be finite and at least 0 but got {value}")
    if not math.isfinite(distance):
        raise EvaluationError(f"the distance to score must be finite but got {distance}")
    factor = 1.0 + min(cap, weight * max(0.0, imbalance - tolerance))
    return distance * factor if distance >= 0.0 else distance / factor
