"""Waiting for databases. Importing this loads neither Optuna nor SQLAlchemy."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

PATIENCE_SECONDS = 900.0
"""How long a call is retried. Then the launch ends and keeps what is finished."""
SAY_AFTER_SECONDS = 1.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0

T = TypeVar("T")
Say = Callable[[str], None]

announce: Say = logging.getLogger(__name__).warning
"""Where sentences about waiting go if a call names nothing else: to standard error, unless the
program has configured logging."""


def pauses() -> Iterator[float]:
    """Seconds to wait before each retry, without end."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        yield pause
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def retry(
    call: Callable[[], T],
    what: str,
    reason: Callable[[Exception], str | None],
    say: Say | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> T:
    """Call, and retry after each error for which `reason` gives one: those may pass.

    `say` (default: `announce`) is called with one sentence when the retries take over a second, and
    again when `what` answers. An error that comes later than `patience_seconds` after the first
    call is raised.
    """
    began, said = time.monotonic(), False
    for pause in pauses():
        try:
            result = call()
            break
        except Exception as error:
            why = reason(error)
            if why is None or time.monotonic() - began >= patience_seconds:
                raise
            if not said and time.monotonic() - began >= SAY_AFTER_SECONDS:
                (say or announce)(f"{what} does not answer ({why}); waiting for it")
                said = True
        time.sleep(pause)
    if said:
        (say or announce)(f"{what} answers again after {time.monotonic() - began:.0f} s")
    return result


def is_locked(error: BaseException) -> bool:
    """Whether another process held a SQLite database for too long."""
    layers = (error, error.__cause__)
    found = [*layers, *(getattr(layer, "orig", None) for layer in layers)]
    sqlite = [one for one in found if isinstance(one, sqlite3.OperationalError)]
    return any("locked" in str(one) or "busy" in str(one) for one in sqlite)


def wait_for_sqlite(database: Path) -> None:
    """Wait while another process holds a SQLite file locked; a missing file is no lock.

    Libraries that open the file wait for seconds only, and say nothing meanwhile. Raises
    `sqlite3.Error` as `read_sqlite` does.
    """
    if database.is_file():
        read_sqlite(database, "SELECT 1 FROM sqlite_master LIMIT 1")


def read_sqlite(
    database: Path, query: str, patience_seconds: float = PATIENCE_SECONDS
) -> list[tuple[Any, ...]]:
    """The rows of a query on a SQLite file that exists, once no other process holds it locked.

    Raises `sqlite3.Error` if the lock stays, the file is no database, or the query fails.
    """

    def read() -> list[tuple[Any, ...]]:
        # Not "ro": SQLite must be able to undo what a killed process left half written.
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True, timeout=0)) as one:
            return one.execute(query).fetchall()

    def reason(error: Exception) -> str | None:
        return str(error) if is_locked(error) else None

    what = f"the database {database}"
    return retry(read, what, reason, patience_seconds=patience_seconds)
