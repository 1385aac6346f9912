"""Optuna's database, and all uses of names that are private to Optuna.

`study.storage.trial_summaries` also depends on the columns of Optuna's tables. Check these two
modules when Optuna is upgraded.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.samplers import TPESampler
from optuna.search_space import IntersectionSearchSpace
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb import models as models
from optuna.study import Study
from optuna.study._frozen import FrozenStudy as FrozenStudy
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import Executable, delete, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from dcgan.errors import first_line
from study.errors import StudyError, UnknownStudyError
from study.storage.retries import patiently, reason_of
from study.storage.schema_versions import schema_problem
from study.storage.server import open_server
from study.storage.store import Store, make_database
from study.storage.trial_result import PAUSED, REASON, REVIVED, WENT_ON
from study.storage.waiting import Say, announce, wait_for_sqlite

SQLITE_WAIT_SECONDS = 10
"""How long SQLite itself waits for a lock, in silence. Then the call is retried."""
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
"""The outcomes that count towards a study's total."""

T = TypeVar("T")


def _retried(method: Callable[..., T]) -> Callable[..., T]:
    """A method of `RDBStorage` with retries."""

    @functools.wraps(method)
    def call(self: PatientStorage, *args: Any, **kwargs: Any) -> T:
        return self.patiently(lambda: method(self, *args, **kwargs))

    return call


class PatientStorage(RDBStorage):
    """Optuna's relational storage, which retries each call after a passing database error.

    The database may have done what was asked although its answer was lost. If a trial was created
    twice, a later claim runs the other one.
    """

    say: Say = staticmethod(announce)
    """Called with one sentence when the storage waits for the database."""
    _inside = threading.local()

    create_new_study = _retried(RDBStorage.create_new_study)
    delete_study = _retried(RDBStorage.delete_study)
    set_study_user_attr = _retried(RDBStorage.set_study_user_attr)
    set_study_system_attr = _retried(RDBStorage.set_study_system_attr)
    get_study_id_from_name = _retried(RDBStorage.get_study_id_from_name)
    get_study_name_from_id = _retried(RDBStorage.get_study_name_from_id)
    get_study_directions = _retried(RDBStorage.get_study_directions)
    get_study_user_attrs = _retried(RDBStorage.get_study_user_attrs)
    get_study_system_attrs = _retried(RDBStorage.get_study_system_attrs)
    get_all_studies = _retried(RDBStorage.get_all_studies)
    create_new_trial = _retried(RDBStorage.create_new_trial)
    set_trial_param = _retried(RDBStorage.set_trial_param)
    set_trial_intermediate_value = _retried(RDBStorage.set_trial_intermediate_value)
    set_trial_user_attr = _retried(RDBStorage.set_trial_user_attr)
    set_trial_system_attr = _retried(RDBStorage.set_trial_system_attr)
    get_trial = _retried(RDBStorage.get_trial)
    get_trial_param = _retried(RDBStorage.get_trial_param)
    get_trial_user_attrs = _retried(RDBStorage.get_trial_user_attrs)
    get_trial_system_attrs = _retried(RDBStorage.get_trial_system_attrs)
    get_all_trials = _retried(RDBStorage.get_all_trials)
    get_best_trial = _retried(RDBStorage.get_best_trial)
    get_trial_id_from_study_id_trial_number = _retried(
        RDBStorage.get_trial_id_from_study_id_trial_number
    )
    # Optuna's cache also calls these private methods.
    _create_new_trial = _retried(RDBStorage._create_new_trial)
    _set_trial_param = _retried(RDBStorage._set_trial_param)
    _get_trials = _retried(RDBStorage._get_trials)
    _get_best_trial_id = _retried(RDBStorage._get_best_trial_id)

    def set_trial_state_values(self, trial_id: int, *args: Any, **kwargs: Any) -> bool:
        """As in Optuna, except that a change made by an earlier try of this call counts as made.

        Only one process at a time starts trials, so a started trial was started by this call.
        """
        tries = 0

        def once() -> bool:
            nonlocal tries
            tries += 1
            return super(PatientStorage, self).set_trial_state_values(trial_id, *args, **kwargs)

        try:
            return self.patiently(once) or tries > 1
        except UpdateFinishedTrialError:
            if tries > 1:
                return True
            raise

    def patiently(self, call: Callable[[], T]) -> T:
        """Retry a call, unless it is part of another call, which is retried as a whole."""
        if getattr(self._inside, "busy", False):
            return call()
        self._inside.busy = True
        try:
            return patiently(call, self.say)
        finally:
            self._inside.busy = False


def open_storage(store: Store, *, create: bool = False, wait: bool = False) -> PatientStorage:
    """Open the store's Optuna database; `create` makes a missing one.

    `wait` retries while a server does not answer. Raises `UnknownStudyError` if there is no
    database yet, and `StudyError` if it cannot be used or its server cannot be reached.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if store.storage:
        return open_server(
            store, lambda url, options: PatientStorage(url, engine_kwargs=options), wait=wait
        )
    if not create and not store.optuna_database.is_file():
        raise UnknownStudyError(
            f"there are no studies in {store.root}; start one with 'study run', or name another "
            "results folder with --store"
        )
    options = {"connect_args": {"timeout": SQLITE_WAIT_SECONDS}}
    try:
        wait_for_sqlite(store.optuna_database)
        if create:
            make_database(store.optuna_database, lambda url: RDBStorage(url).engine.dispose())
        return patiently(lambda: PatientStorage(store.optuna_url, engine_kwargs=options))
    except Exception as error:  # SQLAlchemy's, alembic's and Optuna's own types
        if problem := schema_problem(store.optuna_database, "optuna"):
            raise StudyError(problem) from error
        raise StudyError(
            f"cannot open the study database {store.optuna_database}: {first_line(error)}; restore "
            "it from a backup, or name another results folder with --store"
        ) from error


@contextmanager
def clear_storage_errors(store: Store) -> Iterator[None]:
    """Turn a failure of the study database into a `StudyError` of one sentence."""
    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        raise StudyError(
            f"the study database {store.optuna_place} failed: {reason_of(error)}; finished trials "
            "are kept, and the same command continues"
        ) from error


def load_optuna_study(
    store: Store, name: str, say: Say | None = None, *, wait: bool = False
) -> Study:
    """Load a study by name.

    `say` is called with one sentence when a call waits for the database. `wait` retries while a
    server does not answer. Raises `UnknownStudyError`, which lists the studies, if there is no such
    study.
    """
    storage = open_storage(store, wait=wait)
    if say:
        storage.say = say
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        names = sorted(optuna.get_all_study_names(storage))
        storage.engine.dispose()  # nobody else has it
        there = f"there are: {', '.join(names)}" if names else "there are none yet"
        place = store.optuna_place if store.storage else store.root
        raise UnknownStudyError(f"there is no study '{name}' in {place}; {there}") from None


@contextmanager
def briefly(store: Store, name: str) -> Iterator[Study]:
    """A study for one look at it: what is connected with its database is closed afterwards.

    Raises `UnknownStudyError` if there is no such study.
    """
    study = load_optuna_study(store, name)
    try:
        yield study
    finally:
        if storage := backend_of(study):
            storage.engine.dispose()


def load_all_studies(store: Store) -> list[Study]:
    """Load the studies of a store, by name; raises `UnknownStudyError` without a database."""
    storage = open_storage(store)
    names = sorted(optuna.get_all_study_names(storage))
    return [optuna.load_study(study_name=name, storage=storage) for name in names]


def finished_count(study: Study) -> int:
    """How many trials count towards the study's total."""
    storage, trials = backend_of(study), models.TrialModel
    if storage is None:
        return len(study.get_trials(deepcopy=False, states=FINISHED))
    query = select(func.count()).where(trials.study_id == id_of(study), trials.state.in_(FINISHED))

    def count() -> int:
        with storage.engine.connect() as connection:
            return int(connection.scalar(query) or 0)

    return storage.patiently(count)


# What follows uses private parts of Optuna.


def backend_of(study: Study) -> PatientStorage | None:
    """The database behind a study's cache; `None` for a study in memory."""
    storage = getattr(study._storage, "_backend", study._storage)
    return storage if isinstance(storage, PatientStorage) else None


def storage_of(study: Study) -> BaseStorage:
    """The storage of a study, with its cache: another object of the same study can share it."""
    return study._storage


def id_of(study: Study | FrozenStudy) -> int:
    """The id of a study in its database."""
    return study._study_id


def id_of_trial(trial: FrozenTrial) -> int:
    """The id of a trial in its database."""
    return trial._trial_id


def cached(storage: PatientStorage) -> BaseStorage:
    """A storage that reads finished trials once."""
    return optuna.storages.get_storage(storage)


def stored_trial(study: Study, trial: Trial | FrozenTrial) -> FrozenTrial:
    """Read one trial as it is in the database now."""
    return study._storage.get_trial(trial._trial_id)


def running_again(study: Study, trial: FrozenTrial) -> Trial:
    """A RUNNING trial of a lost process as one for which this process can report and tell."""
    return Trial(study, trial._trial_id)


def put_back(study: Study, trial: Trial | FrozenTrial) -> None:
    """Return a RUNNING trial to WAITING: the next `ask` gets the same number and parameters."""
    study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)


def begin_waiting(study: Study, trial: FrozenTrial) -> Trial:
    """Start one WAITING trial; `ask` would start the one with the lowest number."""
    study._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
    return running_again(study, trial)


def reopen(study: Study, trial: FrozenTrial, *, revived: bool = False) -> None:
    """Return a paused trial to WAITING: its attribute `PAUSED` becomes `WENT_ON`, its reason goes.

    A `revived` trial, which need not be paused, gets the attribute `REVIVED`. A trial that is not
    PRUNED any more stays as it is. Optuna has no call for this: to it, a finished trial never
    changes. All of it happens in one transaction. Raises `ValueError` for a study in memory.
    """
    storage, number = backend_of(study), trial._trial_id
    if storage is None:
        raise ValueError("a trial of a study in memory cannot be reopened")
    values, attributes = models.TrialValueModel, models.TrialUserAttributeModel
    own = attributes.trial_id == number
    wait = (
        update(models.TrialModel.__table__)
        .where(models.TrialModel.trial_id == number, models.TrialModel.state == TrialState.PRUNED)
        .values(state=TrialState.WAITING, datetime_complete=None)
    )
    changes: list[Executable] = [
        delete(values).where(values.trial_id == number),
        delete(attributes).where(own, attributes.key.in_((WENT_ON, REASON))),
        update(attributes).where(own, attributes.key == PAUSED).values(key=WENT_ON),
    ]
    if revived:
        row = {"trial_id": number, "key": REVIVED, "value_json": "true"}
        changes += [
            delete(attributes).where(own, attributes.key == REVIVED),
            insert(attributes).values(row),
        ]

    def change() -> None:
        with storage.engine.begin() as connection:
            if connection.execute(wait).rowcount:
                for statement in changes:
                    connection.execute(statement)

    storage.patiently(change)
    read_again(study)


def read_again(study: Study) -> None:
    """Read finished trials again that were reopened meanwhile.

    Optuna's cache reads a finished trial once.
    """
    storage, cache = backend_of(study), study._storage
    if storage is None or not isinstance(cache, _CachedStorage):
        return
    trials = models.TrialModel

    def read() -> list[Any]:
        with Session(storage.engine) as session:
            return session.query(trials).filter(trials.study_id == id_of(study)).all()

    now = storage.patiently(read)
    with cache._lock:
        known = cache._studies.get(id_of(study))
        if known is None:
            return
        for trial in now:
            seen, ended = known.trials.get(trial.number), (trial.state, trial.datetime_complete)
            if seen and (seen.state, seen.datetime_complete) != ended:
                known.unfinished_trial_ids.add(trial.trial_id)
    study.get_trials(deepcopy=False)  # the cache reads only now


def remove_study(study: Study) -> None:
    """Delete a study from its database."""
    optuna.delete_study(study_name=study.study_name, storage=study._storage)


def share_search_space(sampler: TPESampler, space: IntersectionSearchSpace) -> None:
    """Let a sampler keep the parameters that all trials share in `space`.

    Otherwise each new sampler compares all trials again for its first proposal.
    """
    sampler._search_space = space
