"""`study gc`: what crashes and finished trials leave on the disk, and nothing else.

Whatever this module does not know by name stays, and so does everything of a trial that runs.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from optuna.trial import TrialState

from dcgan.cli.console import say
from dcgan.runtime.files import is_temporary
from study.errors import StudyError
from study.results.checkpoints import expendable_checkpoints
from study.running.claims import Claims
from study.storage.attributes import CONFIG_ATTRIBUTE, study_config
from study.storage.locks import is_held
from study.storage.optuna_db import FINISHED, clear_storage_errors, load_optuna_study, open_storage
from study.storage.store import Store, StudyFolder, trial_name

if TYPE_CHECKING:
    from optuna.study import Study

OLD_SECONDS = 600
"""A temporary file that has not changed for so long is not being written any more."""


@dataclass(frozen=True)
class Leftover:
    """Files that can go, and why."""

    paths: tuple[Path, ...]
    what: str

    @property
    def size(self) -> int:
        """Bytes."""
        files = (file for path in self.paths for file in (path, *path.rglob("*")))
        return sum(file.lstat().st_size for file in files if not file.is_dir())

    def remove(self) -> None:
        """Remove them.

        Raises:
            StudyError: one cannot be removed.
        """
        try:
            for path in self.paths:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        except OSError as error:
            raise StudyError(
                f"cannot remove {error.filename}: {error.strerror}; what was removed before is "
                "gone, and the same command goes on"
            ) from error


def collect_garbage(store: Store, name: str | None, *, dry_run: bool) -> None:
    """Remove what a study (or each) does not need any more, and say what, with its size.

    Args:
        name: the study; none: all of them, and what belongs to none.
        dry_run: only say it.

    Raises:
        UnknownStudyError: there is none of that name, or none at all.
        StudyError: a file cannot be removed.
    """
    if name is None:
        storage = open_storage(store)
        names = sorted(study.study_name for study in storage.get_all_studies())
        studies = [optuna.load_study(study_name=one, storage=storage) for one in names]
    else:
        studies = [load_optuna_study(store, name)]
    freed = 0
    with clear_storage_errors(store):
        for study in studies:
            with ExitStack() as stack:
                folder = store.study(study.study_name)
                claims = Claims(study, folder)
                if not dry_run and folder.locks.is_dir():
                    stack.enter_context(claims.alone())
                freed += _clear(of_study(study, folder, claims.locks), store, dry_run)
    if name is None:
        freed += _clear(of_store(store), store, dry_run)
    say(f"{freed / 1e6:,.1f} MB {'can be freed' if dry_run else 'freed'} in {store.root}")


def _clear(leftovers: Iterator[Leftover], store: Store, dry_run: bool) -> int:
    freed = 0
    for leftover in leftovers:
        size = leftover.size
        if not dry_run:
            leftover.remove()
        freed += size
        first = leftover.paths[0].relative_to(store.root)
        more = f" and {len(leftover.paths) - 1} more" if len(leftover.paths) > 1 else ""
        verb = "would remove" if dry_run else "removed"
        say(f"{verb} {size / 1e6:9,.1f} MB  {first}{more}: {leftover.what}")
    return freed


def of_study(study: Study, folder: StudyFolder, locks: Path) -> Iterator[Leftover]:
    """What a study does not need any more.

    Args:
        locks: this machine's lock files of its trials.
    """
    found = _trial_folders(folder)  # before the database is asked: a new trial is there first
    trials = study.get_trials(deepcopy=False)
    known = {trial.number for trial in trials}
    running = {trial.number for trial in trials if trial.state == TrialState.RUNNING}
    finished = [trial.number for trial in trials if trial.state in FINISHED]
    busy = {number for number in known | set(found) if is_held(_lock(locks, number))} | running
    if CONFIG_ATTRIBUTE in study.user_attrs:
        keep = study_config(study).checkpoints.keep
        for path in expendable_checkpoints(study, folder, keep):
            yield Leftover((path,), f"the trial has ended and is not among the best {keep}")
    for number, path in found.items():
        if number not in known | busy:
            yield Leftover((path,), "Optuna does not know this trial")
    full_runs = [lock.parent for lock in folder.path.glob("full_runs/*/.lock") if is_held(lock)]
    in_use = [*(folder.trial(number) for number in busy), *full_runs]
    for path in sorted(folder.path.rglob(".*")):
        if _is_abandoned(path) and not any(path.is_relative_to(one) for one in in_use):
            yield Leftover((path,), "the writer of this file was cut off")
    ended = [_lock(locks, number) for number in finished if number not in busy]
    if there := tuple(lock for lock in ended if lock.is_file()):
        yield Leftover(there, "locks of trials that have ended")


def of_store(store: Store) -> Iterator[Leftover]:
    """What belongs to no study: databases that were not made wholly, and cut-off writers."""
    for database in (store.optuna_database, store.mlflow_database):
        fresh = database.with_name(f"{database.name}.new")
        paths = tuple(path for path in (fresh, Path(f"{fresh}-journal")) if path.is_file())
        if paths and not is_held(database.with_name(f"{database.name}.lock")):
            yield Leftover(paths, "whoever made this database was cut off")
    for folder in (store.root, store.artifacts):
        for path in sorted(folder.glob(".*")):
            if _is_abandoned(path):
                yield Leftover((path,), "the writer of this file was cut off")


def _trial_folders(folder: StudyFolder) -> dict[int, Path]:
    found = {
        int(match[1]): path
        for path in folder.trial(0).parent.glob("*")
        if (match := re.fullmatch(r"trial-(\d{3,})", path.name))
    }
    return {
        number: path
        for number, path in sorted(found.items())
        if path.name == trial_name(number) and path.is_dir() and not path.is_symlink()
    }


def _lock(locks: Path, number: int) -> Path:
    return locks / f"{trial_name(number)}.lock"


def _is_abandoned(path: Path) -> bool:
    if not is_temporary(path.name) or path.is_symlink() or not path.is_file():
        return False
    return time.time() - path.stat().st_mtime > OLD_SECONDS
