"""What `study doctor` says about one study: its extractor, its photos, its trials."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from optuna.study import Study
from optuna.trial import TrialState

from dcgan.data.bank import fingerprint_of
from dcgan.errors import DcganError
from dcgan.evaluation.evaluator import configured_extractor
from dcgan.evaluation.extractors.weights import weights_at_hand
from dcgan.runtime.health import Check, Finding
from study.config.study_config import StudyConfig
from study.running.claims import Claims
from study.storage.attributes import stored_config, stored_identity
from study.storage.held import held_trials
from study.storage.optuna_db import FINISHED
from study.storage.schema_versions import schema_problem
from study.storage.store import Store, trial_name
from study.tracking.catch_up import outdated
from study.tracking.experiment import trials_shown_of

SHOWN = 5
"""How many trials a line names."""


def study_checks(study: Study, store: Store) -> list[Check]:
    """The checks of one study."""
    name = study.study_name
    config, identity = stored_config(study), stored_identity(study)
    if config is None or not identity:
        text = f"'{name}' was cut off before its first trial; the same 'study run' continues it"
        return [lambda: Finding("warning", text)]
    return [
        partial(_extractor, name, config, identity),
        partial(_photos, name, config, identity),
        partial(_trials, study, store, config.study.trials),
        partial(_mirror, study, store),
    ]


def _extractor(name: str, config: StudyConfig, identity: Mapping[str, Any]) -> Finding:
    scores = config.base.eval
    if scores.extractor == "inception" and not weights_at_hand(scores.weights):
        return Finding(
            "warning",
            f"'{name}' is scored by Inception, whose weights are not here; the next launch "
            "downloads them",
        )
    here = configured_extractor(config.base, torch.device("cpu"))
    if here.fingerprint != identity["extractor.fingerprint"]:
        return Finding(
            "fault",
            f"'{name}' is scored by {identity['extractor.name']} "
            f"{identity['extractor.fingerprint'][:12]}, but this machine has {here.name} "
            f"{here.fingerprint[:12]} ({here.source}); restore the first one, or start another "
            "study with --name",
        )
    return Finding("ok", f"'{name}' is scored by {here.name} ({here.source}), as at its start")


def _photos(name: str, config: StudyConfig, identity: Mapping[str, Any]) -> Finding:
    data = config.base.data
    where = "the built-in toy cats" if data.source == "toy_cats" else str(data.root)
    try:
        found = fingerprint_of(data)
    except DcganError as error:
        return Finding("fault", f"photos of '{name}': {error}; if they were moved, pass --data DIR")
    if found != identity["data.fingerprint"]:
        return Finding(
            "fault",
            f"photos of '{name}': those in {where} have changed since the study's start, so scores "
            "cannot be compared; restore them, or start another study with --name",
        )
    return Finding("ok", f"photos of '{name}': {where}, as at its start")


def _trials(study: Study, store: Store, total: int) -> Finding:
    trials = study.get_trials(deepcopy=False)
    finished = sum(trial.state in FINISHED for trial in trials)
    running = sum(trial.state == TrialState.RUNNING for trial in trials)
    text = f"'{study.study_name}': {finished} of {total} trials finished, {running} running"
    orphans = Claims(study, store.study(study.study_name)).orphans()
    if not orphans:
        return Finding("ok", text)
    return Finding(
        "warning",
        f"{text}, of which {_listed([trial.number for trial in orphans])} lost the process that "
        "ran it; the same 'study run' continues it from its checkpoint",
    )


def _mirror(study: Study, store: Store) -> Finding:
    name, database = study.study_name, store.mlflow_database
    if not store.tracking and (not database.is_file() or schema_problem(database, "mlflow")):
        return Finding("warning", f"MLflow does not show '{name}'; the same 'study run' repairs it")
    states = {trial.number: trial.state.name for trial in study.get_trials(deepcopy=False)}
    folder = store.study(name)
    records = outdated(folder, states, trials_shown_of(store, name))
    is_held = held_trials(folder, study)  # a trial that is running is shown by its own process
    if numbers := [record.number for record in records if not is_held(record.number)]:
        return Finding(
            "warning",
            f"MLflow shows {_listed(numbers)} of '{name}' in another state than Optuna; the same "
            f"'study run' again, or 'study sync {name}', repairs it",
        )
    return Finding("ok", f"MLflow shows the trials of '{name}' as Optuna does")


def _listed(numbers: list[int]) -> str:
    names = ", ".join(trial_name(number) for number in numbers[:SHOWN])
    more = len(numbers) - SHOWN
    return f"{names} and {more} more" if more > 0 else names
