"""A trial as a config that trains it in full, with a record of where it comes from."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from dcgan.config import TrainConfig
from dcgan.config_io import override
from dcgan.errors import UsageError
from study.config import StudyConfig
from study.errors import StudyError
from study.leaderboard import distances_of
from study.space import trial_config
from study.store import trial_name
from study.summaries import outcomes_of

if TYPE_CHECKING:
    from optuna.study import Study

CONFIG_ATTRIBUTE = "config"


def study_config(study: Study) -> StudyConfig:
    """The config a study was created with."""
    return StudyConfig.model_validate(json.loads(study.user_attrs[CONFIG_ATTRIBUTE]))


def best_trial(study: Study) -> FrozenTrial:
    """The complete trial with the lowest score.

    Raises:
        StudyError: no trial is complete.
    """
    complete = [trial for trial in outcomes_of(study) if trial.state == TrialState.COMPLETE]
    if not complete:
        raise StudyError(
            f"the study '{study.study_name}' has no complete trial yet; let it run longer"
        )
    return _trial(study, min(complete, key=lambda trial: (trial.values, trial.number)).number)


def pick_trial(study: Study, number: int | None) -> FrozenTrial:
    """The trial of a number, or the best one.

    Raises:
        UsageError: there is no such trial, or it has no parameters yet.
    """
    if number is None:
        return best_trial(study)
    with suppress(KeyError):  # Optuna's, for an unknown number
        trial = _trial(study, number)
        if trial.params:
            return trial
    raise UsageError(
        f"the study '{study.study_name}' has no trial {number} with parameters; see 'study show "
        f"{study.study_name}'"
    )


def _trial(study: Study, number: int) -> FrozenTrial:
    """One trial, without reading the others."""
    storage = study._storage
    trial_id = storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    return storage.get_trial(trial_id)


def export_config(study: Study, number: int | None = None) -> TrainConfig:
    """The config of a trial's full run: its parameters and seed, full epochs, provenance.

    Raises:
        StudyError: no trial is complete.
        UsageError: no such trial.
    """
    trial = pick_trial(study, number)
    config = study_config(study)
    trained = trial_config(config, trial.params, trial.number)
    full_epochs = max(TrainConfig().train.epochs, trained.train.epochs)
    full = override(trained, {"train.epochs": full_epochs, **config.full_run}, "full_run")
    return full.model_copy(update={"provenance": _provenance(study, trial, trained)})


def _provenance(study: Study, trial: FrozenTrial, trained: TrainConfig) -> dict[str, Any]:
    facts = trial.user_attrs
    identity = json.loads(study.user_attrs["identity"])
    return {
        "study": study.study_name,
        "trial": trial_name(trial.number),
        "origin": facts.get("baseline") or "sampler",
        "state": trial.state.name,
        "mlflow_run_id": facts.get("run_id"),
        "score": trial.value if trial.values else None,
        **distances_of(facts),
        "imbalance": facts.get("imbalance"),
        "scored_at_epoch": facts.get("epoch"),
        "n_samples": trained.eval.n_samples,
        "extractor": identity["extractor.name"],
        "extractor_fingerprint": identity["extractor.fingerprint"],
        "data_fingerprint": identity["data.fingerprint"],
        "code_version": facts.get("code_version") or identity["environment.code_version"],
    }


def header_of(config: TrainConfig) -> str:
    """The comment above an exported config."""
    source = config.provenance
    return (
        f"The full run of {source['trial']} of the study '{source['study']}'.\n"
        "Train it with: dcgan train THIS_FILE [--data DIR]"
    )
