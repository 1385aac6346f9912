"""Retries of calls to a database that is locked, restarting or out of reach.

A study runs for hours. It must not lose its results if its database is unreachable for minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from dcgan.errors import first_line

PATIENCE_SECONDS = 900.0
"""How long a call is retried. Then the launch ends and keeps what is finished."""
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
    "lock timeout",  # the caller chose its own timeout
)
"""Words in the messages of operational errors that a retry cannot fix."""

T = TypeVar("T")


def reason_of(error: BaseException) -> str:
    """Why a database call failed, in one line."""
    layers = (error, error.__cause__)
    original = next((o for layer in layers if (o := getattr(layer, "orig", None))), error)
    return first_line(original).removeprefix("connection failed: ").removesuffix(".")


def is_passing(error: BaseException) -> bool:
    """Whether a database error may go away by itself: a lock, a restart, a broken connection."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if not isinstance(cause, DBAPIError):
        return isinstance(cause, PoolTimeoutError)
    if cause.connection_invalidated:
        return True
    text = str(cause.orig).lower()
    operational = isinstance(cause, OperationalError | InterfaceError)
    return operational and not any(words in text for words in HOPELESS)


_last_trouble = float("-inf")


def quiet_seconds() -> float:
    """Seconds since the last passing database error of this process."""
    return time.monotonic() - _last_trouble


def pauses() -> Iterator[float]:
    """Seconds to wait before each retry, without end."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        yield pause
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def patiently(
    call: Callable[[], T],
    say: Callable[[str], None] = lambda text: None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> T:
    """Call, and retry after each passing database error.

    `say` is called with one sentence when the retries take about a second, and again when the
    database answers. No retry begins later than `patience_seconds` after the first call.
    """
    global _last_trouble
    began, said = time.monotonic(), False
    for pause in pauses():
        try:
            result = call()
            break
        except Exception as error:
            if not is_passing(error):
                raise
            _last_trouble = time.monotonic()
            if _last_trouble - began >= patience_seconds:
                raise
            if not said and pause >= 1.0:
                say(f"the study database does not answer ({reason_of(error)}); waiting for it")
                said = True
        time.sleep(pause)
    if said:
        say(f"the study database answers again after {time.monotonic() - began:.0f} s")
    return result
