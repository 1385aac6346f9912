"""Trains the best trials of a study further, as a study of their own.

The earlier study stays as it is: its numbers are of its length. The trials of the new one are
baselines with the seeds of the earlier ones, so they continue from copies of their checkpoints, bit
for bit as if they had never stopped.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock
from optuna.trial import TrialState

from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig
from dcgan.data.bank import PhotoBank
from dcgan.errors import CheckpointError, UsageError
from dcgan.training.run.checkpoint import Checkpoint, check_continues, load_checkpoint
from dcgan.training.run.folder import RunFolder
from study.config.space import trial_config
from study.config.study_config import BASELINE_NAME_LENGTH, Baseline, StudyConfig
from study.errors import StudyError, UnknownStudyError
from study.results.leaderboard import rows_of
from study.running.warm_start import params_here
from study.storage.attributes import study_config
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store, StudyFolder, trial_name
from study.storage.trial_record import TrialRecord
from study.storage.trial_result import TrialResult

NOT_COPIED = ("trial.json", "result.json", ".delivered_to_mlflow.json")
"""Files that say how a trial ended, or what MLflow shows of it."""


class Extension(NamedTuple):
    """A study that trains trials of another one further."""

    config: StudyConfig
    source: str
    """The other study's name."""
    trials: dict[int, TrialResult]
    """Number of a new trial → the earlier one that it continues."""


def extend(store: Store, name: str, top: int, epochs: int, new_name: str | None) -> Extension:
    """The config of a study that trains the `top` best complete trials of a study to `epochs`.

    If that study has begun, its trials stay in their order, and others come after them. `new_name`
    is its name (default: made of both).

    Raises:
        UnknownStudyError: there is no such study.
        StudyError: none of its trials is complete, or the new study extends another one.
        UsageError: the trials have trained as long already.
    """
    study = load_optuna_study(store, name)
    earlier = study_config(study)
    if epochs <= earlier.base.train.epochs:
        raise UsageError(
            f"--epochs {epochs}: the trials of '{name}' have trained {earlier.base.train.epochs} "
            "epochs; name a larger number"
        )
    new_name = new_name or f"{name}-{epochs}-epochs"
    complete = [row for row in rows_of(study) if row.state == TrialState.COMPLETE]
    if not complete:
        raise StudyError(f"no trial of '{name}' is complete, so there is none to train further")
    there = {_title(row, name): row for row in complete}
    chosen = [title for title in _begun(store, new_name, name) if title in there]
    for title in list(there)[:top]:
        same = (there[title].params, there[title].seed)
        if same not in [(there[it].params, there[it].seed) for it in chosen]:
            chosen.append(title)
    trials = {number: there[title] for number, title in enumerate(chosen)}
    config = _longer(earlier, new_name, epochs, trials, name)
    return Extension(config, name, trials)


def _title(row: TrialResult, source: str) -> str:
    """The name of the baseline that continues a trial."""
    return f"{trial_name(row.number)} of {source}"[:BASELINE_NAME_LENGTH]


def _begun(store: Store, new_name: str, source: str) -> list[str]:
    """Names of the baselines of the extension so far; none if it has not begun."""
    try:
        begun = study_config(load_optuna_study(store, new_name))
    except UnknownStudyError:
        return []
    names = [baseline.name for baseline in begun.baselines]
    if not names or not all(name.endswith(f" of {source}") for name in names):
        raise StudyError(
            f"there is a study '{new_name}', which does not extend '{source}'; choose another name "
            "with --name"
        )
    return names


def _longer(
    earlier: StudyConfig, name: str, epochs: int, trials: dict[int, TrialResult], source: str
) -> StudyConfig:
    """The earlier config for these trials alone, without rungs and pruner."""
    baselines = [
        Baseline(name=_title(row, source), params=params_here(earlier, earlier, row), seed=row.seed)
        for row in trials.values()
    ]
    changes = {
        "study.name": name,
        "study.trials": len(trials),
        "study.timeout_minutes": None,
        "checkpoints.keep": max(earlier.checkpoints.keep, len(trials)),
        "pruner.name": "none",
        "budget.images": [],
        "budget.epochs": [],
        "baselines": [baseline.model_dump() for baseline in baselines],
        "base.train.epochs": epochs,
    }
    return override(earlier, changes, f"{source}, extended")


def bring_trials(extension: Extension, store: Store, bank: PhotoBank) -> list[str]:
    """Copy the earlier trials' folders to where the new ones continue them, each once.

    Returns sentences on those that have no checkpoint any more. Raises `StudyError` if a trial
    cannot train further: its learning rates have begun to fall, or the photos are others.
    """
    config, old = extension.config, store.study(extension.source)
    found: dict[int, Checkpoint] = {}
    for number, row in extension.trials.items():
        run = RunFolder(old.trial(row.number))
        if path := next(filter(Path.exists, run.checkpoints), None):
            longer = trial_config(config, row.params, number, row.seed)
            found[number] = _checked(path, longer, bank, row, extension.source)
    folder = store.study(config.study.name)
    folder.locks.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.locks / "extending.lock"):
        for number, checkpoint in found.items():
            if not folder.trial(number).exists():
                _bring(extension, number, checkpoint, old, folder)
    return [
        f"{trial_name(row.number)} of '{extension.source}' has no checkpoint any more "
        "(checkpoints.keep): it starts again from step 0"
        for number, row in extension.trials.items()
        if number not in found and not folder.trial(number).exists()
    ]


def _checked(
    path: Path, config: TrainConfig, bank: PhotoBank, row: TrialResult, source: str
) -> Checkpoint:
    """A checkpoint that continues with a config."""
    try:
        checkpoint = load_checkpoint(path)
        photos = bank.trained_on(config.data.holdout_fraction)
        check_continues(checkpoint, config, bank.fingerprint, photos)
    except CheckpointError as error:
        raise StudyError(
            f"{trial_name(row.number)} of '{source}' cannot train further: {error}"
        ) from None
    return checkpoint


def _bring(
    extension: Extension, number: int, checkpoint: Checkpoint, old: StudyFolder, new: StudyFolder
) -> None:
    """Copy one trial's folder completely or not at all."""
    row, target = extension.trials[number], new.trial(number)
    source = old.trial(row.number)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copytree(source, unfinished, ignore=shutil.ignore_patterns(*NOT_COPIED))
    shutil.copyfile(checkpoint.path, RunFolder(unfinished).checkpoint)
    record = TrialRecord.load(source)
    baseline = extension.config.baselines[number]
    fresh = TrialRecord(number, row.params, "baseline", baseline.name, row.seed or 0, "WAITING")
    if record:
        same = {key: getattr(record, key) for key in ("started", "minutes", "identity")}
        fresh = replace(fresh, **same)
    fresh.save(unfinished)
    unfinished.replace(target)
