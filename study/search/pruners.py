"""The pruner, which stops trials that cannot win."""

from __future__ import annotations

import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    NopPruner,
    PatientPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
)

from study.config.study_config import StudyConfig


def pruner_note(config: StudyConfig) -> str | None:
    """A warning if the configured pruner is not used, else None."""
    if config.objective.mode == "score" or config.pruner.name == "none":
        return None
    return (
        f"objective.mode is pareto, so the pruner '{config.pruner.name}' is not used: no "
        "objective alone shows that a trial cannot win; collapsed trials are still stopped"
    )


def make_pruner(config: StudyConfig) -> BasePruner:
    """The configured pruner, which a trial asks with the score of each evaluation, by epoch.

    With several objectives no trial is pruned, because Optuna takes no reports then.
    """
    pruner = config.pruner
    if pruner.name == "none" or config.objective.mode == "pareto":
        return NopPruner()
    if pruner.name == "hyperband":
        return HyperbandPruner(
            min_resource=pruner.min_epochs,
            max_resource=config.base.train.epochs,
            reduction_factor=pruner.reduction_factor,
        )
    if pruner.name == "successive_halving":
        return SuccessiveHalvingPruner(
            min_resource=pruner.min_epochs, reduction_factor=pruner.reduction_factor
        )
    if pruner.name == "patient":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return PatientPruner(None, patience=pruner.patience_scores)
    return PercentilePruner(
        percentile=50.0 if pruner.name == "median" else pruner.percentile,
        n_startup_trials=pruner.startup_trials,
        n_warmup_steps=pruner.warmup_epochs,
    )
