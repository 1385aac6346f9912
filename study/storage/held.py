"""Which trials processes have, on any machine, as one sees it that claims none."""

from __future__ import annotations

import socket
from collections.abc import Callable

from optuna.study import Study

from study.storage.leases import Leases
from study.storage.locks import lock_folders, place_of, trial_is_held
from study.storage.optuna_db import backend_of
from study.storage.store import StudyFolder


def held_trials(folder: StudyFolder, study: Study | None) -> Callable[[int], bool]:
    """Whether a process has a trial: here now, or on another machine when this is called.

    Without its study in Optuna's database, those of this disk alone are known.
    """
    places, here = lock_folders(folder), folder.locks / socket.gethostname()
    storage = backend_of(study) if study else None
    leases = study and Leases.of(
        storage, study.study_name, lambda: place_of(here) if here.is_dir() else ""
    )
    elsewhere = leases.elsewhere() if leases else {}

    def is_held(number: int) -> bool:
        locked = any(trial_is_held(place, number) for place in places)
        return locked or elsewhere.get(number) is False

    return is_held
