"""`study gc`: removes what crashes and finished trials leave on the disk, and nothing else.

Files that this module does not know by name stay, and so do all files of a running trial.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

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
from study.storage.store import Store, trial_name

OLD_SECONDS = 600
"""A temporary file that has not changed for this long has no writer any more."""


class Leftover(NamedTuple):
    """Files that can go, and why."""

    paths: tuple[Path, ...]
    why: str


def collect_garbage(
    store: Store, name: str | None, *, dry_run: bool, say: Callable[[str], None]
) -> None:
    """Remove what the study `name` (default: every study, and what belongs to none) needs no more.

    `dry_run` removes nothing. `say` is called with a sentence for each leftover, and with the sum
    at the end. Raises `UnknownStudyError` without such a study, and `StudyError` if a file cannot
    be removed.
    """
    studies = load_all_studies(store) if name is None else [load_optuna_study(store, name)]
    freed = 0
    with clear_storage_errors(store):
        for study in studies:
            try:
                stored_config(study)
            except StudyError as error:
                say(f"left alone: {error}")
                continue
            claims = Claims(study, store.study(study.study_name))
            locked = not dry_run and claims.folder.locks.is_dir()
            with claims.alone() if locked else nullcontext():
                freed += _clear(_of_study(claims), store, dry_run, say)
    if name is None:
        freed += _clear(_of_store(store), store, dry_run, say)
    say(f"{freed / 1e6:,.1f} MB {'can be freed' if dry_run else 'freed'} in {store.root}")


def _clear(
    leftovers: Iterator[Leftover], store: Store, dry_run: bool, say: Callable[[str], None]
) -> int:
    """Remove leftovers; return their bytes."""
    freed = 0
    for paths, why in leftovers:
        size = size_of(*paths)
        if not dry_run:
            _remove(paths)
        freed += size
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        verb = "would remove" if dry_run else "removed"
        say(f"{verb} {size / 1e6:9,.1f} MB  {paths[0].relative_to(store.root)}{more}: {why}")
    return freed


def _remove(paths: Iterable[Path]) -> None:
    try:
        for path in paths:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    except OSError as error:
        raise StudyError(
            f"cannot remove {error.filename}: {error.strerror}; what was removed before is gone, "
            "and the same command continues"
        ) from error


def _of_study(claims: Claims) -> Iterator[Leftover]:
    """What a study does not need any more."""
    study, folder = claims.study, claims.folder
    found = folder.trials()  # before the database is asked: a new trial is there first
    trials = study.get_trials(deepcopy=False)
    known = {trial.number for trial in trials}
    running = {trial.number for trial in trials if trial.state == TrialState.RUNNING}
    busy = claims.held(known | set(found)) | running
    if config := stored_config(study):
        kept = config.checkpoints
        for paths in expendable_checkpoints(study, folder, kept):
            yield Leftover(paths, f"the trial has ended and is not among the best {kept.keep}")
    for number, path in found.items():
        if number not in known | busy:
            yield Leftover((path,), "Optuna does not know this trial")
    for path in sorted((folder.path / "trials").glob(".trial-*.tmp")):
        if path.name not in [f".{trial_name(number)}.tmp" for number in busy]:
            yield Leftover((path,), "the copying of this trial was cut off")
    in_use = [*(folder.trial(number) for number in busy), *held_full_runs(folder)]
    yield from _cut_off(folder.path.rglob(".*"), in_use)
    ended = {trial.number for trial in trials if trial.state in FINISHED} - busy
    locks = (claims.locks / f"{trial_name(number)}.lock" for number in sorted(ended))
    if existing := tuple(path for path in locks if path.is_file()):
        yield Leftover(existing, "locks of trials that have ended")


def _of_store(store: Store) -> Iterator[Leftover]:
    """What belongs to no study: half-made databases and files whose writer was cut off."""
    for database in (store.optuna_database, store.mlflow_database):
        fresh = database.with_name(f"{database.name}.new")
        paths = tuple(path for path in (fresh, Path(f"{fresh}-journal")) if path.is_file())
        if paths and not is_held(database.with_name(f"{database.name}.lock")):
            yield Leftover(paths, "the process that made this database was cut off")
    for folder in (store.root, store.artifacts):
        yield from _cut_off(folder.glob(".*"))


def _cut_off(paths: Iterable[Path], in_use: Sequence[Path] = ()) -> Iterator[Leftover]:
    """Old temporary files outside of the folders that are in use."""
    for path in sorted(paths):
        old = (
            is_temporary(path.name)
            and path.is_file()
            and not path.is_symlink()
            and time.time() - path.stat().st_mtime > OLD_SECONDS
        )
        if old and not any(path.is_relative_to(folder) for folder in in_use):
            yield Leftover((path,), "the writer of this file was cut off")
