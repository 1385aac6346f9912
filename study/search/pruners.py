"""The pruner, which stops trials that cannot win, and only for more than chance."""

from __future__ import annotations

import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.pruners import (
    BasePruner,
    NopPruner,
    PatientPruner,
)

from study.config.study_config import StudyConfig
from study.search.fair import Fair, FairHalving, FairHyperband, FairPercentile


def pruner_note(config: StudyConfig) -> str | None:
    """A sentence if another rule takes the place of the configured pruner, else None."""
    if config.objective.mode == "score" or config.pruner.name == "none":
        return None
    return (
        f"objective.mode is pareto, so instead of the pruner '{config.pruner.name}' another rule "
        "stops trials: those that a complete trial beats at the same epoch in distance and in "
        "imbalance, by more than chance"
    )


def make_pruner(config: StudyConfig) -> BasePruner:
    """The configured pruner, which a trial asks with the score of each evaluation, by epoch.

    Those that compare trials stop one only for more than the noise between seeds. With several
    objectives Optuna takes no reports, so it prunes nothing (see `study.search.dominated`).
    """
    pruner = _make(config)
    if isinstance(pruner, Fair):
        pruner.assumed = config.noise.assumed
    return pruner


def _make(config: StudyConfig) -> BasePruner:
    pruner = config.pruner
    if pruner.name == "none" or config.objective.mode == "pareto":
        return NopPruner()
    if pruner.name == "hyperband":
        return FairHyperband(
            pruner.reduction_factor,
            min_resource=pruner.min_epochs,
            max_resource=config.base.train.epochs,
        )
    if pruner.name == "successive_halving":
        return FairHalving(pruner.reduction_factor, min_resource=pruner.min_epochs)
    if pruner.name == "patient":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return PatientPruner(None, patience=pruner.patience_scores)
    return FairPercentile(
        50.0 if pruner.name == "median" else pruner.percentile,
        n_startup_trials=pruner.startup_trials,
        n_warmup_steps=pruner.warmup_epochs,
    )
