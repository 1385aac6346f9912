"""What a trial that was trained before can be continued from."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from optuna.trial import Trial

from dcgan.config.train_config import TrainConfig
from dcgan.errors import CheckpointError, DcganError
from dcgan.runtime.devices import resolve_device
from dcgan.runtime.files import write_atomic
from dcgan.training.run.checkpoint import Checkpoint, check_continues, load_checkpoint, restore
from dcgan.training.run.folder import RunFolder
from dcgan.training.step import TrainState
from study.config.baselines import Continued
from study.errors import StudyError
from study.running.context import StudyContext
from study.running.travel import bring_trial
from study.storage.shared_trials import STAYS
from study.storage.trial_record import TrialRecord
from study.storage.trial_result import CONTINUES, WENT_ON

NOT_COPIED = ("trial.json", "result.json", *STAYS)
"""Files that say how a trial ended, or what MLflow shows of it."""


def make_continuable(
    context: StudyContext, trial: Trial, folder: Path, config: TrainConfig
) -> None:
    """Let a trial start again from step 0, with a fresh MLflow run, if its folder is of no use.

    It is a damaged checkpoint, one of another kind of device, or a folder left by a deleted study.
    A trial that goes on to another rung without its checkpoint continues from its best score. One
    that continues a trial of an earlier study begins with a copy of that trial's folder.
    """
    record, path = TrialRecord.load(folder), RunFolder(folder).checkpoint
    own = record is None or (record.params, record.seed) == (trial.params, config.train.seed)
    if CONTINUES in trial.user_attrs and (record is None or not own):
        shutil.rmtree(folder, ignore_errors=True)
        _bring(context, trial, folder, config)
        record, own = TrialRecord.load(folder), True
    try:
        if not own:
            raise CheckpointError(f"{folder} holds another trial")
        if WENT_ON in trial.user_attrs and not _is_readable(path):
            _take_best(context, trial, folder, record)
        if path.exists():
            checkpoint = load_checkpoint(path)
            photos = context.bank.trained_on(config.data.holdout_fraction)
            check_continues(checkpoint, config, context.bank.fingerprint, photos)
            restore(checkpoint, TrainState.fresh(config, resolve_device(config.train.device)))
    except CheckpointError as error:
        if record and record.run_id:
            with context.mirroring():
                context.tracker.client.delete_run(record.run_id)
        shutil.rmtree(folder, ignore_errors=not folder.exists())
        if record and own:  # its tries still count
            replace(record, run_id=None).save(folder)
        context.warn(f"{error}; the trial starts again from step 0")


def checkpoint_of(folder: Path) -> Checkpoint | None:
    """A trial's last checkpoint, or that of its best score if it cannot be read; None without."""
    for path in RunFolder(folder).checkpoints:
        with suppress(CheckpointError):
            return load_checkpoint(path)
    return None


def _is_readable(path: Path) -> bool:
    try:
        load_checkpoint(path)
    except CheckpointError:
        return False
    return True


def _bring(context: StudyContext, trial: Trial, folder: Path, config: TrainConfig) -> None:
    """Copy the folder of the trial that this one continues, completely or not at all."""
    continued = Continued.model_validate(trial.user_attrs[CONTINUES])
    source = context.store.study(continued.study).trial(continued.trial)
    try:
        bring_trial(context.store, continued.study, continued.trial)
    except (DcganError, OSError) as error:
        context.warn(str(error))
    checkpoint = checkpoint_of(source)
    if checkpoint is None:
        context.warn(
            f"trial {trial.number} continues {source.name} of '{continued.study}', which has no "
            "checkpoint on this machine: it starts from step 0"
        )
        return
    unfinished = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        shutil.copytree(source, unfinished, ignore=shutil.ignore_patterns(*NOT_COPIED))
        shutil.copyfile(checkpoint.path, RunFolder(unfinished).checkpoint)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        reason = error.strerror or "its files change meanwhile"
        raise StudyError(f"cannot copy {source} to {folder}: {reason}") from error
    record = TrialRecord.begun(trial, config.train.seed, context.identity)
    if earlier := TrialRecord.load(source):
        record.minutes = earlier.minutes
    record.save(unfinished)
    unfinished.replace(folder)


def _take_best(
    context: StudyContext, trial: Trial, folder: Path, record: TrialRecord | None
) -> None:
    """Replace a lost checkpoint by that of the best score; raises `CheckpointError` without it."""
    run = RunFolder(folder)
    what = "damaged" if run.checkpoint.exists() else "gone"
    rung = trial.user_attrs[WENT_ON]
    lost = f"trial {trial.number} goes on from rung {rung}, but its checkpoint is {what}"
    if record is None or not run.best.exists():
        raise CheckpointError(lost)
    epoch = load_checkpoint(run.best).epoch
    record.run_id = None  # a fresh run in MLflow: what comes after that epoch comes again
    record.save(folder)
    write_atomic(run.checkpoint, lambda file: file.write(run.best.read_bytes()))
    context.warn(f"{lost}: it continues from epoch {epoch}, that of its best score")
