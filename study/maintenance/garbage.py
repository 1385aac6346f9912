"""`study gc`: removes what crashes and finished trials leave on the disk, and nothing else.

A file that this module does not know by name stays, and so does everything of a running trial.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from dcgan.runtime.files import is_temporary, size_of
from study.errors import StudyError
from study.results.checkpoints import expendable_checkpoints
from study.running.claims import Claims
from study.storage.attributes import stored_config
from study.storage.locks import held_full_runs, is_held
from study.storage.optuna_db import (
    FINISHED,
    clear_storage_errors,
    load_all_studies,
    load_optuna_study,
)
from study.storage.store import Store, StudyFolder, trial_name

if TYPE_CHECKING:
    from optuna.study import Study

OLD_SECONDS = 600
"""A temporary file that has not changed for this long is not being written any more."""


@dataclass(frozen=True)
class Leftover:
    """Files that can go, and why."""

    paths: tuple[Path, ...]
    what: str

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


def collect_garbage(
    store: Store, name: str | None, *, dry_run: bool, say: Callable[[str], None]
) -> None:
    """Remove what a study (or each study) does not need any more.

    Args:
        name: the study; `None`: all studies, and what belongs to none.
        dry_run: remove nothing.
        say: called with a sentence for each leftover, and with the sum at the end.

    Raises:
        UnknownStudyError: there is none of that name, or none at all.
        StudyError: a file cannot be removed.
    """
    studies = load_all_studies(store) if name is None else [load_optuna_study(store, name)]
    freed = 0
    with clear_storage_errors(store):
        for study in studies:
            claims = Claims(study, store.study(study.study_name))
            locked = not dry_run and claims.folder.locks.is_dir()
            with claims.alone() if locked else nullcontext():
                freed += _clear(of_study(claims), store, dry_run, say)
    if name is None:
        freed += _clear(of_store(store), store, dry_run, say)
    say(f"{freed / 1e6:,.1f} MB {'can be freed' if dry_run else 'freed'} in {store.root}")


def _clear(
    leftovers: Iterator[Leftover], store: Store, dry_run: bool, say: Callable[[str], None]
) -> int:
    freed = 0
    for leftover in leftovers:
        size = sum(map(size_of, leftover.paths))
        if not dry_run:
            leftover.remove()
        freed += size
        first = leftover.paths[0].relative_to(store.root)
        more = f" and {len(leftover.paths) - 1} more" if len(leftover.paths) > 1 else ""
        verb = "would remove" if dry_run else "removed"
        say(f"{verb} {size / 1e6:9,.1f} MB  {first}{more}: {leftover.what}")
    return freed


def of_study(claims: Claims) -> Iterator[Leftover]:
    """What a study does not need any more."""
    folder = claims.folder
    found = _trial_folders(folder)  # before the database is asked: a new trial is there first
    trials = claims.study.get_trials(deepcopy=False)
    known = {trial.number for trial in trials}
    running = {trial.number for trial in trials if trial.state == TrialState.RUNNING}
    busy = claims.held(known | set(found)) | running
    yield from _checkpoints(claims.study, folder)
    yield from _unknown_trials({n: path for n, path in found.items() if n not in known | busy})
    in_use = [*(folder.trial(number) for number in busy), *held_full_runs(folder)]
    yield from _cut_off(folder.path.rglob(".*"), in_use)
    ended = [trial.number for trial in trials if trial.state in FINISHED]
    yield from _locks(claims.locks, [number for number in ended if number not in busy])


def _checkpoints(study: Study, folder: StudyFolder) -> Iterator[Leftover]:
    config = stored_config(study)
    if config is not None:
        keep = config.checkpoints.keep
        for path in expendable_checkpoints(study, folder, keep):
            yield Leftover((path,), f"the trial has ended and is not among the best {keep}")


def _unknown_trials(folders: dict[int, Path]) -> Iterator[Leftover]:
    for path in folders.values():
        yield Leftover((path,), "Optuna does not know this trial")


def _cut_off(paths: Iterable[Path], in_use: Iterable[Path] = ()) -> Iterator[Leftover]:
    """Temporary files that nobody writes any more, outside of the folders that are in use."""
    in_use = tuple(in_use)
    for path in sorted(paths):
        if _is_abandoned(path) and not any(path.is_relative_to(one) for one in in_use):
            yield Leftover((path,), "the writer of this file was cut off")


def _locks(locks: Path, numbers: list[int]) -> Iterator[Leftover]:
    paths = (locks / f"{trial_name(number)}.lock" for number in numbers)
    if there := tuple(path for path in paths if path.is_file()):
        yield Leftover(there, "locks of trials that have ended")


def of_store(store: Store) -> Iterator[Leftover]:
    """What belongs to no study: databases that were not made wholly, and cut-off writers."""
    for database in (store.optuna_database, store.mlflow_database):
        fresh = database.with_name(f"{database.name}.new")
        paths = tuple(path for path in (fresh, Path(f"{fresh}-journal")) if path.is_file())
        if paths and not is_held(database.with_name(f"{database.name}.lock")):
            yield Leftover(paths, "whoever made this database was cut off")
    for folder in (store.root, store.artifacts):
        yield from _cut_off(folder.glob(".*"))


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


def _is_abandoned(path: Path) -> bool:
    if not is_temporary(path.name) or path.is_symlink() or not path.is_file():
        return False
    return time.time() - path.stat().st_mtime > OLD_SECONDS
