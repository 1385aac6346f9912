"""Optuna's storage: opened once, with patience for locks; orphaned trials."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import create_engine, func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from dcgan.errors import first_line
from study.errors import StudyError, UnknownStudyError
from study.storage.leases import TABLE as LEASES
from study.storage.retries import PatientStorage, patiently, reason_of
from study.storage.schema_versions import schema_problem
from study.storage.store import Store, make_database

if TYPE_CHECKING:
    from optuna.study import Study
LOCK_WAIT_SECONDS = 60
CONNECT_SECONDS = 10
TABLES_LOCK = 0x6463_6761
"""Key of the lock under which a server's tables are made."""
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
"""The outcomes that count towards a study's total."""


def open_storage(store: Store, *, create: bool = False, wait: bool = False) -> PatientStorage:
    """Open the store's Optuna database (made if `create`).

    Args:
        wait: for a server that does not answer.

    Raises:
        UnknownStudyError: there is no database yet.
        StudyError: it is not a usable database, or its server cannot be reached.
    """
    if store.storage:
        return _open_server(store, store.storage, wait)
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
        return PatientStorage(store.optuna_url, engine_kwargs=options)
    except Exception as error:  # SQLAlchemy's, alembic's and Optuna's own types
        if problem := schema_problem(store.optuna_database, "optuna"):
            raise StudyError(problem) from error
        reason = first_line(error)
        raise StudyError(
            f"cannot open the study database {store.optuna_database}: {reason}; restore it from a "
            "backup, or name another results folder with --store"
        ) from error


def _open_server(store: Store, url: str, wait: bool) -> PatientStorage:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # A server allows a hundred connections, and there may be dozens of workers: one each is kept.
    options: dict[str, Any] = {
        "pool_size": 1,
        "pool_pre_ping": True,
        "connect_args": {
            "connect_timeout": CONNECT_SECONDS,
            "application_name": "dcgan-study",
            # A machine or a server that vanishes is noticed in a minute, not in hours: by us ...
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 60_000,
            # ... and by the server, which then lets go of the machine's locks.
            "options": "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10"
            " -c tcp_keepalives_count=3",
        },
    }

    def connect() -> PatientStorage:
        engine = create_engine(url, poolclass=NullPool, connect_args=options["connect_args"])
        with engine.connect() as connection:  # tables are made by one process at a time
            connection.execute(text(f"SET lock_timeout = '{LOCK_WAIT_SECONDS}s'"))
            connection.execute(select(func.pg_advisory_lock(TABLES_LOCK)))
            LEASES.create(engine, checkfirst=True)
            return PatientStorage(url, engine_kwargs=options)

    try:
        return patiently(connect) if wait else connect()
    except ModuleNotFoundError as error:
        raise StudyError(
            f"the database driver '{error.name}' is missing, which {store.optuna_place} needs; "
            "install it with: pip install 'dcgan-study[postgres]'"
        ) from None
    except Exception as error:  # SQLAlchemy's, alembic's and Optuna's own types
        raise StudyError(
            f"cannot open the study database {store.optuna_place}: {reason_of(error)}; check that "
            "the server runs, and its address, database, user and password (--storage)"
        ) from error


def backend_of(study: Study) -> PatientStorage | None:
    """The database behind a study's cache; none for a study in memory."""
    storage = getattr(study._storage, "_backend", study._storage)
    return storage if isinstance(storage, PatientStorage) else None


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
            f"the study database {store.optuna_place} failed: {reason_of(error)}; what is "
            "finished is kept, and the same command continues"
        ) from error


def load_optuna_study(
    store: Store, name: str, say: Callable[[str], None] = lambda text: None, *, wait: bool = False
) -> Study:
    """Load a study by name.

    Args:
        say: told when its database is waited for.
        wait: for a server that does not answer.

    Raises:
        UnknownStudyError: there is none; the message lists those there are.
    """
    storage = open_storage(store, wait=wait)
    storage.say = say
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        names = sorted(study.study_name for study in storage.get_all_studies())
        there = f"there are: {', '.join(names)}" if names else "there are none yet"
        place = store.optuna_place if store.storage else store.root
        raise UnknownStudyError(f"there is no study '{name}' in {place}; {there}") from None


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
