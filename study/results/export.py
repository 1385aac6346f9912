"""A trial as a config that trains it in full, with a record of where it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import TrialState

from dcgan.config.settings import override, save_config
from dcgan.config.train_config import TrainConfig
from study.config.space import trial_config
from study.results.selection import pick_trial
from study.storage.attributes import stored_identity, study_config
from study.storage.store import trial_name
from study.storage.trial_result import TrialResult


def export_config(study: Study, number: int | None = None, rule: str | None = None) -> TrainConfig:
    """The config of a trial's full run: its parameters and seed, full epochs, provenance.

    Chooses the trial, and raises, as `pick_trial` does.
    """
    return full_config(study, pick_trial(study, number, rule), rule)


def full_config(study: Study, trial: TrialResult, rule: str | None = None) -> TrainConfig:
    """The config of the full run of a trial that has been picked (by a rule)."""
    config = study_config(study)
    trained = trial_config(config, trial.params, trial.number)
    full_epochs = max(TrainConfig().train.epochs, trained.train.epochs)
    changes = {"train.epochs": full_epochs, "eval.fid_at_end": True, **config.full_run}
    full = override(trained, changes, "full_run")
    picked = {} if rule is None else {"picked_by": rule}
    provenance = _provenance(study, trial, trained) | picked
    return full.model_copy(update={"provenance": provenance})


def _provenance(study: Study, trial: TrialResult, trained: TrainConfig) -> dict[str, Any]:
    identity = stored_identity(study)
    best = trial.state == TrialState.COMPLETE and identity.get("eval.select") == "best"
    return {
        "study": study.study_name,
        "trial": trial_name(trial.number),
        "origin": trial.origin,
        "state": trial.state.name,
        "mlflow_run_id": trial.run_id,
        "score": trial.score,
        **trial.distances,
        "imbalance": trial.imbalance,
        **trial.metrics,
        "scored_at_epoch": trial.epoch,
        "scored_checkpoint": "best.pt" if best else "checkpoint.pt",
        "n_samples": trained.eval.n_samples,
        "extractor": identity["extractor.name"],
        "extractor_fingerprint": identity["extractor.fingerprint"],
        "data_fingerprint": identity["data.fingerprint"],
        "code_version": trial.code_version or identity["environment.code_version"],
    }


def write_export(config: TrainConfig, path: Path) -> None:
    """Write an exported config as YAML, atomically, with a comment that says what it is."""
    source = config.provenance
    header = (
        f"The full run of {source['trial']} of the study '{source['study']}'.\n"
        "Train it with: dcgan train THIS_FILE [--data DIR]"
    )
    save_config(config, path, header)
