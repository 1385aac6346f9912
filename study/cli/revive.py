"""`study revive`: a trial that was stopped early goes on to its end."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from dcgan.cli.console import say
from dcgan.config.settings import override
from dcgan.training.run.folder import RunFolder
from study.cli.run import launch
from study.errors import SharedPlaceError
from study.running.claims import Claims
from study.running.revive import revive as revive_trial
from study.running.travel import bring_trial
from study.storage.attributes import study_config, with_addresses
from study.storage.optuna_db import clear_storage_errors, load_optuna_study
from study.storage.store import Store, trial_name


def revive(store: Store, name: str, number: int, settings: Mapping[str, Any]) -> None:
    """Let it go on, and launch its study.

    `settings` are dotted keys that differ on this machine. Raises, and exits, as
    `study.running.revive.revive` and `launch` do.
    """
    study = load_optuna_study(store, name)
    store = with_addresses(store, study)
    limits = {"study.timeout_minutes": None, "study.max_hours": None}
    config = override(study_config(study), {**limits, **settings})
    folder = store.study(name)
    with clear_storage_errors(store):
        revive_trial(Claims(study, folder), number, config.study.trials)
    with suppress(SharedPlaceError, OSError):  # the launch tells it
        bring_trial(store, name, number)
    kept = RunFolder(folder.trial(number)).checkpoint.exists()
    where = "from its checkpoint" if kept else "from step 0, since its checkpoint is gone"
    say(f"{trial_name(number)} goes on {where} to epoch {config.base.train.epochs}")
    launch(config, store)
