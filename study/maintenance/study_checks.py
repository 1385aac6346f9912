"""What `study doctor` says of one study: its scores' network, its photos, its trials."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from optuna.trial import TrialState

from dcgan.data.bank import fingerprint_of
from dcgan.errors import DcganError
from dcgan.evaluation.evaluator import configured_extractor
from dcgan.evaluation.extractors.weights import weights_at_hand
from dcgan.runtime.health import Check, Finding
from study.config.study_config import StudyConfig
from study.running.claims import Claims
from study.storage.attributes import stored_config, stored_identity
from study.storage.optuna_db import FINISHED
from study.storage.schema_versions import schema_problem
from study.storage.store import Store, trial_name
from study.tracking.catch_up import lacking
from study.tracking.experiment import statuses_on_server
from study.tracking.sqlite_rows import opened, trial_statuses

if TYPE_CHECKING:
    from optuna.study import Study

SHOWN = 5
"""Trials named in a line."""


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
    """Whether scores would come from the network they came from so far."""
    scores = config.base.eval
    if scores.extractor == "inception" and not weights_at_hand(scores.weights):
        return Finding(
            "warning",
            f"'{name}' is scored by Inception, whose weights are not at hand; the next launch "
            "downloads them",
        )
    here = configured_extractor(config.base, torch.device("cpu"))
    if here.fingerprint != identity["extractor.fingerprint"]:
        return Finding(
            "fault",
            f"'{name}' is scored by {identity['extractor.name']} "
            f"{identity['extractor.fingerprint'][:12]}, but what is at hand is {here.name} "
            f"{here.fingerprint[:12]} ({here.source}); bring the first one back, or start another "
            "study with --name",
        )
    return Finding("ok", f"'{name}' is scored by {here.name} ({here.source}), as at its start")


def _photos(name: str, config: StudyConfig, identity: Mapping[str, Any]) -> Finding:
    """Whether the photos are where they were, and the same."""
    data = config.base.data
    where = "the built-in toy cats" if data.source == "toy_cats" else str(data.root)
    try:
        found = fingerprint_of(data)
    except DcganError as error:
        return Finding("fault", f"photos of '{name}': {error}; if they were moved, pass --data DIR")
    if found != identity["data.fingerprint"]:
        return Finding(
            "fault",
            f"photos of '{name}': those in {where} have changed since the study's start, and "
            "scores could not be compared; restore them, or start another study with --name",
        )
    return Finding("ok", f"photos of '{name}': {where}, as at its start")


def _trials(study: Study, store: Store, total: int) -> Finding:
    """How many trials are finished, and which ones lost their process."""
    trials = study.get_trials(deepcopy=False)
    running = [trial.number for trial in trials if trial.state == TrialState.RUNNING]
    orphans = Claims(study, store.study(study.study_name)).orphans()
    lost = [trial.number for trial in orphans]
    finished = sum(trial.state in FINISHED for trial in trials)
    text = f"'{study.study_name}': {finished} of {total} trials finished, {len(running)} running"
    if lost:
        return Finding(
            "warning",
            f"{text}, of which {_listed(lost)} lost the process that ran it; the same 'study run' "
            "continues it from its checkpoint",
        )
    return Finding("ok", text)


def _mirror(study: Study, store: Store) -> Finding:
    """Trials that MLflow shows in another state than Optuna."""
    name, database = study.study_name, store.mlflow_database
    if store.tracking:
        shown = statuses_on_server(store, name)
    elif not database.is_file() or schema_problem(database, "mlflow"):
        return Finding("warning", f"MLflow does not show '{name}'; the same 'study run' mends it")
    else:
        with opened(store) as connection:
            shown = trial_statuses(connection, name)
    states = {trial.number: trial.state.name for trial in study.get_trials(deepcopy=False)}
    differing = [record.number for record in lacking(store.study(name), states, shown)]
    if differing:
        return Finding(
            "warning",
            f"MLflow shows {_listed(differing)} of '{name}' in another state than Optuna; the same "
            f"'study run' again, or 'study sync {name}', mends it",
        )
    return Finding("ok", f"MLflow shows the trials of '{name}' as Optuna does")


def _listed(numbers: list[int]) -> str:
    names = ", ".join(trial_name(number) for number in numbers[:SHOWN])
    more = len(numbers) - SHOWN
    return f"{names} and {more} more" if more > 0 else names
