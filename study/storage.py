"""Optuna's storage: opened once, with patience for locks; who runs a study; orphaned trials."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from dcgan.errors import first_line
from study.errors import StudyBusyError, StudyError, UnknownStudyError
from study.schema import schema_problem
from study.store import Store, StudyFolder, make_database

if TYPE_CHECKING:
    from optuna.study import Study

LOCK_WAIT_SECONDS = 60
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
"""The outcomes that count towards a study's total."""


def open_storage(store: Store, *, create: bool = False) -> RDBStorage:
    """Open the store's Optuna database (made if `create`).

    Raises:
        UnknownStudyError: there is no database yet.
        StudyError: the file is not a usable database.
    """
    if not create and not store.optuna_database.is_file():
        raise UnknownStudyError(
            f"there are no studies in {store.root}; start one with 'study run', or name another "
            "results folder with --store"
        )
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # SQLite's default patience of 5 s is too little beside a backup or a slow disk.
    options = {"connect_args": {"timeout": LOCK_WAIT_SECONDS}}
    try:
        if create:
            make_database(store.optuna_database, lambda url: RDBStorage(url).engine.dispose())
        return RDBStorage(store.optuna_url, engine_kwargs=options)
    except Exception as error:  # SQLAlchemy's, alembic's and Optuna's own types
        if problem := schema_problem(store.optuna_database, "optuna"):
            raise StudyError(problem) from error
        reason = first_line(error)
        raise StudyError(
            f"cannot open the study database {store.optuna_database}: {reason}; restore it from a "
            "backup, or name another results folder with --store"
        ) from error


@contextmanager
def clear_storage_errors(store: Store) -> Iterator[None]:
    """Turn a failure of the study database into one sentence.

    Raises:
        StudyError: the database is locked, full or unreadable.
    """
    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        raise StudyError(
            f"the study database {store.optuna_database} failed: {first_line(error)}; what is "
            "finished is kept, and the same command continues"
        ) from error


def load_optuna_study(store: Store, name: str) -> Study:
    """Load a study by name.

    Raises:
        UnknownStudyError: there is none; the message lists those there are.
    """
    storage = open_storage(store)
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        names = sorted(study.study_name for study in storage.get_all_studies())
        there = f"there are: {', '.join(names)}" if names else "there are none yet"
        raise UnknownStudyError(f"there is no study '{name}' in {store.root}; {there}") from None


def load_study(name: str, store: Store | None = None) -> Study:
    """The Optuna study of a name in a store (default: `Store.at()`), for notebooks.

    Raises:
        UnknownStudyError: there is none.
    """
    return load_optuna_study(store or Store.at(), name)


def finished_count(study: Study) -> int:
    """How many trials count towards the total."""
    return len(study.get_trials(deepcopy=False, states=FINISHED))


def put_back(study: Study, trial_id: int) -> None:
    """Return a RUNNING trial to WAITING: the next `ask` gets the same number and parameters."""
    study._storage.set_trial_state_values(trial_id, TrialState.WAITING)


def sole_runner(folder: StudyFolder) -> AbstractContextManager[None]:
    """Hold the study's lock.

    Raises:
        StudyBusyError: another process holds it.
    """
    return hold(folder.path, f"the study in {folder.path}")


@contextmanager
def hold(path: Path, what: str) -> Iterator[None]:
    """Hold a folder's lock, which the system releases when this process ends in any way.

    Raises:
        StudyBusyError: another process holds it.
    """
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / ".lock")
    owner = path / ".owner"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        pid = owner.read_text(encoding="utf-8").strip() if owner.exists() else "unknown"
        raise StudyBusyError(
            f"{what} is being run by another process (pid {pid}); wait for it or stop it with "
            "Ctrl-C first"
        ) from None
    try:
        owner.write_text(f"{os.getpid()}\n", encoding="utf-8")
        yield
    finally:
        lock.release()


def set_attributes(study: Study, trial_id: int, values: dict[str, Any]) -> None:
    """Store several user attributes of a trial."""
    for key, value in values.items():
        study._storage.set_trial_user_attr(trial_id, key, value)
