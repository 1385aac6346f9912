"""Retries of calls to a database that is locked, restarting or out of reach.

A study runs for hours. It must not lose its results if its database is unreachable for minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from dcgan.errors import first_line
from study.storage.waiting import PATIENCE_SECONDS, Say, is_locked, retry

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
    if is_locked(error):
        return True
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


def patiently(
    call: Callable[[], T],
    say: Say | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> T:
    """Call, and retry after each passing database error, as `study.storage.waiting.retry` says."""

    def reason(error: Exception) -> str | None:
        global _last_trouble
        if not is_passing(error):
            return None
        _last_trouble = time.monotonic()
        return reason_of(error)

    return retry(call, "the study database", reason, say, patience_seconds)
