"""Patience with a database that is locked, restarting or out of reach: calls are tried again.

A study runs for hours, and its database may be away for minutes of them. What is being computed
meanwhile must not be lost to that.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from dcgan.errors import first_line

PATIENCE_SECONDS = 900.0
"""How long a call is tried again before the launch ends with what is finished."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0
HOPELESS = (
    "readonly database",
    "database or disk is full",
    "unable to open database file",
    "disk i/o error",
    "no such table",
    "no such column",
    "malformed",
    "password authentication failed",
    "permission denied",
    "does not exist",
    "lock timeout",  # which was given its own patience
)
"""In the messages of operational errors that waiting does not mend."""

T = TypeVar("T")


def reason_of(error: BaseException) -> str:
    """Why a database did not do what it was asked, in a line."""
    layers = (error, error.__cause__)
    original = next((o for layer in layers if (o := getattr(layer, "orig", None))), error)
    return first_line(original).removeprefix("connection failed: ").removesuffix(".")


def is_passing(error: BaseException) -> bool:
    """Whether a database error may go away by itself: a lock, a restart, a broken connection."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if isinstance(cause, PoolTimeoutError):
        return True
    if not isinstance(cause, DBAPIError):
        return False
    if cause.connection_invalidated:
        return True
    text = str(cause.orig).lower()
    operational = isinstance(cause, OperationalError | InterfaceError)
    return operational and not any(words in text for words in HOPELESS)


_last_trouble = float("-inf")


def quiet_seconds() -> float:
    """How long this process has had no passing trouble with the database."""
    return time.monotonic() - _last_trouble


def pauses() -> Iterator[float]:
    """Seconds to wait before each further try, until the patience is at its end."""
    pause, end = FIRST_PAUSE_SECONDS, time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        yield pause
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def patiently(call: Callable[[], T], say: Callable[[str], None] = lambda text: None) -> T:
    """Call, and again after each passing database error, for `PATIENCE_SECONDS`.

    Args:
        say: told in one sentence when waiting takes more than a moment, and when it is over.
    """
    global _last_trouble
    waits, began, said = pauses(), time.monotonic(), False
    while True:
        try:
            result = call()
        except Exception as error:
            passing = is_passing(error)
            if passing:
                _last_trouble = time.monotonic()
            pause = next(waits, None) if passing else None
            if pause is None:
                raise
            if not said and pause >= 1.0:
                say(f"the study database does not answer ({reason_of(error)}); waiting for it")
                said = True
            time.sleep(pause)
        else:
            if said:
                say(f"the study database answers again after {time.monotonic() - began:.0f} s")
            return result


class PatientStorage(RDBStorage):
    """Optuna's relational storage, each call of which is made with patience.

    A call whose answer was lost may have been carried out: ending a trial twice is told apart from
    ending it against another's will, and a trial created twice is an orphan that a later claim
    takes up.
    """

    say: Callable[[str], None] = staticmethod(lambda text: None)
    """Told when the database is waited for."""
    _inside = threading.local()

    def set_trial_state_values(self, trial_id: int, *args: Any, **kwargs: Any) -> bool:
        """As Optuna's; a trial that a try before has ended is ended, and one that a try before has
        started is started: only one process at a time starts trials."""
        tries = 0

        def once() -> bool:
            nonlocal tries
            tries += 1
            return super(PatientStorage, self).set_trial_state_values(trial_id, *args, **kwargs)

        try:
            return self._call(once) or tries > 1
        except UpdateFinishedTrialError:
            if tries > 1:
                return True
            raise

    def _call(self, call: Callable[[], T]) -> T:
        """With patience, unless one of this class's calls, which has its own, makes this one."""
        if getattr(self._inside, "busy", False):
            return call()
        self._inside.busy = True
        try:
            return patiently(call, lambda text: self.say(text))
        finally:
            self._inside.busy = False


def _patient(name: str) -> Callable[..., Any]:
    inherited = getattr(RDBStorage, name)

    @functools.wraps(inherited)
    def method(self: PatientStorage, *args: Any, **kwargs: Any) -> Any:
        return self._call(lambda: inherited(self, *args, **kwargs))

    return method


_CALLS = (
    "create_new_study delete_study set_study_user_attr set_study_system_attr "
    "get_study_id_from_name get_study_name_from_id get_study_directions get_study_user_attrs "
    "get_study_system_attrs get_all_studies create_new_trial _create_new_trial set_trial_param "
    "_set_trial_param get_trial_id_from_study_id_trial_number get_trial get_all_trials _get_trials "
    "get_best_trial _get_best_trial_id set_trial_intermediate_value set_trial_user_attr "
    "set_trial_system_attr get_trial_user_attrs get_trial_system_attrs"
)
for _name in _CALLS.split(" "):
    setattr(PatientStorage, _name, _patient(_name))
