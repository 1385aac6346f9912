"""What `study doctor` says of one study: its scores' network, its photos, its trials."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from optuna.trial import TrialState

from dcgan.cli.doctor import Check, Finding
from dcgan.data.bank import fingerprint_of
from dcgan.errors import DcganError
from dcgan.evaluation.evaluator import configured_extractor
from dcgan.evaluation.extractors.weights import weights_at_hand
from study.config.identity import ATTRIBUTE
from study.config.study_config import StudyConfig
from study.running.claims import Claims
from study.storage.attributes import CONFIG_ATTRIBUTE, study_config
from study.storage.locks import is_held
from study.storage.optuna_db import FINISHED
from study.storage.schema_versions import schema_problem
from study.storage.store import Store, trial_name
from study.storage.trial_record import TrialRecord
from study.tracking.experiment import statuses_on_server
from study.tracking.run_mirror import STATUS
from study.tracking.sqlite_rows import opened, trial_statuses

if TYPE_CHECKING:
    from optuna.study import Study

SHOWN = 5
"""Trials named in a line."""


def study_checks(study: Study, store: Store) -> list[Check]:
    """The checks of one study."""
    name = study.study_name
    if CONFIG_ATTRIBUTE not in study.user_attrs or ATTRIBUTE not in study.user_attrs:
        text = f"'{name}' was cut off before its first trial; the same 'study run' continues it"
        return [lambda: Finding("warning", text)]
    config = study_config(study)
    identity = json.loads(study.user_attrs[ATTRIBUTE])
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
    """How far the study is, and trials that lost their process."""
    trials, folder = study.get_trials(deepcopy=False), store.study(study.study_name)
    running = [trial.number for trial in trials if trial.state == TrialState.RUNNING]
    claims = Claims(study, folder)
    elsewhere = claims.running_elsewhere()
    here = [number for number in running if number not in elsewhere]
    lost = [n for n in here if not is_held(claims.locks / f"{trial_name(n)}.lock")]
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
    differing = []
    for trial in study.get_trials(deepcopy=False):
        status, right = shown.get(trial.number), STATUS[trial.state.name]
        # What has no record has not begun, so that MLflow need not show it.
        begun = TrialRecord.load(store.study(name).trial(trial.number)) is not None
        if begun and status not in (right, "DELETED"):
            differing.append(trial.number)
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
