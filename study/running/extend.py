"""Trains the best trials of a study further, as a study of their own.

The earlier study stays as it is: its numbers are of its length. The trials of the new one are
baselines with the seeds of the earlier ones, which continue from copies of their checkpoints (see
`study.running.continuing`), bit for bit as if they had never stopped.
"""

from __future__ import annotations

from dataclasses import dataclass

from optuna.trial import TrialState

from dcgan.data.bank import PhotoBank
from dcgan.errors import CheckpointError, UsageError
from dcgan.training.run.checkpoint import check_continues
from study.config.baselines import BASELINE_NAME_LENGTH, Baseline, Continued
from study.config.space import trial_config, trial_seed
from study.config.study_config import StudyConfig
from study.errors import SharedPlaceError, StudyError, UnknownStudyError
from study.results.leaderboard import rows_of
from study.running.continuing import checkpoint_of
from study.running.derived import check_same_measure, derived
from study.running.travel import bring_trial
from study.running.warm_start import params_here
from study.storage.attributes import stored_config, study_config
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store, trial_name
from study.storage.trial_result import TrialResult


@dataclass(frozen=True)
class Extension:
    """A study that trains trials of another one further."""

    config: StudyConfig
    source: str
    """The other study's name."""
    added: list[Baseline]
    """The trials that it has not had before."""


def extend(store: Store, name: str, top: int, epochs: int, new_name: str | None) -> Extension:
    """The config of a study that trains the `top` best complete trials of a study to `epochs`.

    If that study exists, its trials come first, and those that failed are tried again. `new_name`
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
    complete = [row for row in rows_of(study) if row.state == TrialState.COMPLETE]
    if not complete:
        raise StudyError(f"no trial of '{name}' is complete, so there is none to train further")
    new_name = new_name or f"{name}-{epochs}-epochs"
    begun, failed = _begun(store, new_name, name)
    known = {baseline.continues.trial for baseline in begun if baseline.continues}
    added = [_continuation(earlier, name, row) for row in complete[:top] if row.number not in known]
    config = _longer(earlier, new_name, epochs, [*begun, *added], failed)
    return Extension(config, name, added)


def _begun(store: Store, new_name: str, source: str) -> tuple[list[Baseline], int]:
    """The baselines of the extension so far, and how many of its trials have failed."""
    try:
        study = load_optuna_study(store, new_name)
    except UnknownStudyError:
        return [], 0
    begun = stored_config(study)
    if begun is None:  # its first launch has failed
        return [], 0
    sources = {baseline.continues and baseline.continues.study for baseline in begun.baselines}
    if sources != {source}:
        raise StudyError(
            f"there is a study '{new_name}', which does not extend '{source}'; choose another name "
            "with --name"
        )
    return list(begun.baselines), len(study.get_trials(states=(TrialState.FAIL,)))


def _continuation(earlier: StudyConfig, source: str, row: TrialResult) -> Baseline:
    """A trial as a baseline of the new study."""
    seed = trial_seed(earlier.study.seed, row.number) if row.seed is None else row.seed
    epochs, name = earlier.base.train.epochs, row.baseline if row.is_baseline else None
    words = " of ".join(filter(None, [name, trial_name(row.number), source]))
    return Baseline(
        name=words[:BASELINE_NAME_LENGTH],
        params=params_here(earlier, earlier, row),
        seed=seed,
        continues=Continued(study=source, trial=row.number, epochs=epochs, baseline=name),
    )


def _longer(
    earlier: StudyConfig, name: str, epochs: int, baselines: list[Baseline], failed: int
) -> StudyConfig:
    """The config of the study that trains these to a larger number of epochs."""
    full = earlier.full_run
    if full.get("train.epochs", epochs) < epochs:
        full = {key: value for key, value in full.items() if key != "train.epochs"}
    changes = {
        "checkpoints.keep_pruned": 0,
        "checkpoints.keep": max(earlier.checkpoints.keep, len(baselines)),
        "base.train.epochs": epochs,
        "full_run": full,
    }
    return derived(earlier, name, baselines, failed, changes)


def check_extension(extension: Extension, store: Store, bank: PhotoBank) -> list[str]:
    """Refuse, before anything is made, an extension that would not continue the earlier numbers.

    Returns sentences on trials without a checkpoint. Raises `StudyMismatchError` if photos or
    extractor are others, and `StudyError` if a trial's learning rates have begun to fall.
    """
    config, notes = extension.config, []
    if extension.added:
        check_same_measure(load_optuna_study(store, extension.source), config, bank)
    source, photos = extension.source, bank.trained_on(config.base.data.holdout_fraction)
    for baseline in extension.added:
        assert baseline.continues
        number = baseline.continues.trial
        try:
            bring_trial(store, source, number)
        except (SharedPlaceError, OSError) as error:
            notes.append(str(error))
        checkpoint = checkpoint_of(store.study(source).trial(number))
        if checkpoint is None:
            notes.append(
                f"{trial_name(number)} of '{source}' has no checkpoint on this machine "
                "(checkpoints.keep), so it starts again from step 0"
            )
            continue
        longer = trial_config(config, config.baseline_params(baseline), number, baseline.seed)
        try:
            check_continues(checkpoint, longer, bank.fingerprint, photos)
        except CheckpointError as error:
            raise StudyError(
                f"{trial_name(number)} of '{source}' cannot train further: {error}"
            ) from None
    return notes
