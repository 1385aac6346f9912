"""Calls to a database that is locked for a while are tried again; hopeless ones are not."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError

import study.storage.optuna_db
from study.running.observer import Event, Scored
from study.running.study import run_study
from study.storage.optuna_db import open_storage
from study.storage.retries import is_passing, patiently
from study.storage.store import Store
from study.storage.waiting import LONGEST_PAUSE_SECONDS, pauses


def operational(text: str) -> OperationalError:
    return OperationalError("SELECT 1", {}, Exception(text))


def internal(cause: Exception) -> StorageInternalError:
    error = StorageInternalError("An exception is raised during the commit.")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (operational("database is locked"), True),
        (operational("the database system is starting up"), True),
        (operational("server closed the connection unexpectedly"), True),
        (operational("too many clients already"), True),
        (internal(operational("database is locked")), True),
        (InterfaceError("SELECT 1", {}, Exception("connection already closed")), True),
        (operational("attempt to write a readonly database"), False),
        (operational("database or disk is full"), False),
        (operational("no such table: trials"), False),
        (operational('password authentication failed for user "study"'), False),
        (operational("canceling statement due to lock timeout"), False),
        (ProgrammingError("SELECT 1", {}, Exception("syntax error")), False),
        (ValueError("locked"), False),
        (UpdateFinishedTrialError("locked"), False),
    ],
)
def test_what_may_pass_by_itself(error: Exception, passing: bool) -> None:
    assert is_passing(error) is passing


def test_patience_ends() -> None:
    calls: list[int] = []

    def locked() -> None:
        calls.append(1)
        raise operational("database is locked")

    with pytest.raises(OperationalError):
        patiently(locked, patience_seconds=0.5)
    assert 3 <= len(calls) <= 5  # at 0, 0.1, 0.3 and 0.7 s


def test_pauses_grow_to_a_limit() -> None:
    first = [pause for pause, _ in zip(pauses(), range(9), strict=False)]
    assert first[:3] == pytest.approx([0.1, 0.2, 0.4])
    assert first[-1] == LONGEST_PAUSE_SECONDS


def test_a_hopeless_error_is_raised_at_once() -> None:
    calls: list[int] = []

    def full() -> None:
        calls.append(1)
        raise operational("database or disk is full")

    with pytest.raises(OperationalError):
        patiently(full)
    assert len(calls) == 1


def test_ending_a_trial_whose_first_answer_was_lost(store: Store) -> None:
    storage = open_storage(store, create=True)
    made = optuna.create_study(study_name="lost", storage=storage)
    trial, other = made.ask(), made.ask()
    ended = RDBStorage.set_trial_state_values
    answers = iter([operational("server closed the connection unexpectedly"), None])

    def lossy(self: Any, *args: Any, **kwargs: Any) -> bool:
        done = bool(ended(self, *args, **kwargs))
        if error := next(answers, None):
            raise internal(error)
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RDBStorage, "set_trial_state_values", lossy)
        made.tell(trial, 1.5)
    assert made.trials[0].value == 1.5
    assert made.trials[0].state == TrialState.COMPLETE
    made.tell(other, 2.0)
    with pytest.raises(UpdateFinishedTrialError):  # another process has ended it before
        storage.set_trial_state_values(other._trial_id, TrialState.COMPLETE, [3.0])


@pytest.mark.slow
def test_a_locked_database_only_delays_a_study(
    tiny_study: Callable[..., Any],
    store: Store,
    bank: Any,
    watch: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(study.storage.optuna_db, "SQLITE_WAIT_SECONDS", 0.2)  # instead of 10 s
    locks: list[sqlite3.Connection] = []

    def lock(event: Event) -> None:
        if isinstance(event, Scored) and not locks:
            locks.append(sqlite3.connect(store.optuna_database, check_same_thread=False))
            locks[0].execute("BEGIN EXCLUSIVE")
            threading.Timer(3.5, locks[0].rollback).start()

    watcher = watch(lock)
    summary = run_study(tiny_study(study__trials=2), store, bank=bank, observer=watcher)
    assert [trial.state for trial in summary.study.trials] == [TrialState.COMPLETE] * 2
    said = watcher.warnings
    assert said[0] == "the study database does not answer (database is locked); waiting for it"
    assert said[1].startswith("the study database answers again after ")
    locks[0].close()
