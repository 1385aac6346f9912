"""Leases on running trials, for processes that share only the database.

A process renews the lease of its trial every few seconds, by the database's own clock. A trial
whose lease has expired has lost its process, and the next claim continues it. A process that was
frozen meanwhile finds its lease gone and stops.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    UpdateBase,
    and_,
    delete,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from dcgan.errors import UsageError
from study.errors import LeaseLostError
from study.storage.retries import patiently, quiet_seconds

LEASE_VARIABLE = "DCGAN_STUDY_LEASE_SECONDS"
RENEWALS_PER_LEASE = 4

TABLE = Table(
    "dcgan_leases",
    MetaData(),
    Column("study", String(128), primary_key=True),
    Column("trial", Integer, primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("place", String(512), nullable=False),
    Column("until", DateTime(timezone=True), nullable=False),
)
"""Made beside Optuna's tables. `owner` is a process; `place`, a host and a disk, is where its file
locks are visible."""


def lease_seconds() -> float:
    """How long a lease lasts without renewal; UsageError if the variable is not such a number."""
    given = os.environ.get(LEASE_VARIABLE) or "60"
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 1.0 <= seconds <= 86_400.0:
        raise UsageError(
            f"{LEASE_VARIABLE} must be a number of seconds from 1 on, but got '{given}'"
        )
    return seconds


@dataclass(frozen=True)
class Lease:
    """Who has a trial."""

    place: str
    lapsed: bool


class Leases:
    """The leases of one study in a PostgreSQL database, as one process sees them.

    Args:
        place: the same for processes of a host that see each other's file locks.
        say: called with one sentence when a call waits for the database.
    """

    def __init__(
        self,
        engine: Engine,
        study: str,
        place: str,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.engine, self.study, self.say = engine, study, say
        self.place = f"{socket.gethostname()}:{place}"[:512]
        self.owner = uuid4().hex
        self.seconds = lease_seconds()

    @contextmanager
    def alone(self, name: str, patience_seconds: float) -> Iterator[None]:
        """Hold a lock of the study in the database, which releases it when this process ends.

        Raises:
            SQLAlchemyError: another process holds it for `patience_seconds`.
        """
        key = zlib.crc32(f"dcgan-study:{self.study}:{name}".encode())

        def lock() -> Connection:
            connection = self.engine.connect()
            try:
                connection.execute(text(f"SET lock_timeout = '{patience_seconds:.0f}s'"))
                connection.execute(select(func.pg_advisory_lock(key)))
                connection.commit()
            except BaseException:
                connection.close()
                raise
            return connection

        connection = patiently(lock, self.say)
        try:
            yield
        finally:
            # The lock ends with its connection, whatever state either is in.
            with suppress(SQLAlchemyError):
                connection.invalidate()
            connection.close()

    def all(self) -> dict[int, Lease]:
        """Trial number → its lease.

        Right after an outage no lease counts as lapsed: nobody could renew it meanwhile.
        """
        up = func.clock_timestamp() - func.pg_postmaster_start_time()
        patient = up > text(f"interval '{self.seconds} seconds'")
        lapsed = and_(TABLE.c.until < func.clock_timestamp(), patient)
        query = select(TABLE.c.trial, TABLE.c.place, lapsed).where(TABLE.c.study == self.study)

        def read() -> dict[int, Lease]:
            with self.engine.connect() as connection:
                rows = connection.execute(query).all()
            sure = quiet_seconds() > self.seconds
            return {trial: Lease(place, gone and sure) for trial, place, gone in rows}

        return patiently(read, self.say)

    def write(self, trial: int) -> None:
        """Make the trial's lease this process's; called while holding `alone`."""
        values = {"owner": self.owner, "place": self.place, "until": self._until()}
        row = insert(TABLE).values(study=self.study, trial=trial, **values)
        row = row.on_conflict_do_update(index_elements=["study", "trial"], set_=values)
        patiently(lambda: self._execute(row), self.say)

    def renew(self, trial: int) -> bool:
        """Extend the trial's lease, without a retry; false if this process has lost it."""
        mine = self._mine(trial)
        return self._execute(update(TABLE).where(mine).values(until=self._until())) == 1

    def end(self, trial: int) -> None:
        """Give the lease back; it expires by itself if the database does not answer."""
        with suppress(SQLAlchemyError):
            self._execute(delete(TABLE).where(self._mine(trial)))

    def forget(self, trials: list[int]) -> None:
        """Remove the leases of trials that were taken from their owners."""
        if trials:
            where = and_(TABLE.c.study == self.study, TABLE.c.trial.in_(trials))
            patiently(lambda: self._execute(delete(TABLE).where(where)), self.say)

    @contextmanager
    def kept(self, trial: int) -> Iterator[Callable[[], None]]:
        """Renew a trial's lease in the background.

        Yields:
            A check, cheap enough for every step. It raises `LeaseLostError` if another process may
            have the trial, and waits while the database does not answer.
        """
        keeper = _Keeper(self, trial)
        keeper.start()
        try:
            yield keeper.check
        finally:
            keeper.ended.set()
            keeper.join()

    def _mine(self, trial: int) -> ColumnElement[bool]:
        return and_(
            TABLE.c.study == self.study, TABLE.c.trial == trial, TABLE.c.owner == self.owner
        )

    def _until(self) -> ColumnElement[Any]:
        return func.clock_timestamp() + text(f"interval '{self.seconds} seconds'")

    def _execute(self, statement: UpdateBase) -> int:
        with self.engine.begin() as connection:
            return connection.execute(statement).rowcount


class _Keeper(threading.Thread):
    """Renews one lease, and knows until when it holds for sure."""

    def __init__(self, leases: Leases, trial: int) -> None:
        super().__init__(daemon=True)
        self.leases, self.trial = leases, trial
        self.lost = False
        self.ended = threading.Event()
        self.renewed = _now()

    def run(self) -> None:
        """Renew until stopped or lost."""
        while not self.ended.wait(self.leases.seconds / RENEWALS_PER_LEASE) and not self.lost:
            with suppress(SQLAlchemyError):  # tried again at the next turn
                self._renew()

    def check(self) -> None:
        """See `Leases.kept`."""
        if _now() - self.renewed >= self.leases.seconds and not self.lost:
            patiently(self._renew, self.leases.say)
        if self.lost:
            raise LeaseLostError(
                f"trial {self.trial} is another process's by now: this one was frozen or cut off "
                f"from the database for more than {self.leases.seconds:.0f} s"
            )

    def _renew(self) -> None:
        asked = _now()
        if self.leases.renew(self.trial):
            self.renewed = asked
        else:
            self.lost = True


def _now() -> float:
    """Seconds of a clock that goes on while the process is frozen or the machine sleeps."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)
