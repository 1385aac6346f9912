"""Leases on running trials, for processes that share only the database.

A process renews the lease of its trial every few seconds, by the database's clock. An expired lease
means that the process is gone, and the next claim continues the trial. A process that was frozen
meanwhile finds that it has lost the lease, and stops.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from dcgan.errors import UsageError
from study.errors import LeaseLostError
from study.storage.retries import patiently, quiet_seconds

if TYPE_CHECKING:
    from study.storage.optuna_db import PatientStorage

LEASE_VARIABLE = "DCGAN_STUDY_LEASE_SECONDS"
RENEWALS_PER_LEASE = 4

TABLE = sa.Table(
    "dcgan_leases",
    sa.MetaData(),
    sa.Column("study", sa.String(128), primary_key=True),
    sa.Column("trial", sa.Integer, primary_key=True),
    sa.Column("owner", sa.String(64), nullable=False),
    sa.Column("place", sa.String(512), nullable=False),
    sa.Column("until", sa.DateTime(timezone=True), nullable=False),
)
"""Is in the same database as Optuna's tables. `owner` names a process. `place` names a host and a
disk: processes of one place see each other's file locks."""


def _lease_seconds() -> float:
    given = os.environ.get(LEASE_VARIABLE) or "60"
    with suppress(ValueError):
        if 1.0 <= (seconds := float(given)) <= 86_400.0:
            return seconds
    raise UsageError(f"{LEASE_VARIABLE} must be from 1 to 86400 seconds, but got '{given}'")


class Leases:
    """The leases of one study in a PostgreSQL database, as one process sees them.

    `place` names this process's disk; the host's name is added. `say` is called with one sentence
    when a call waits for the database.
    """

    def __init__(
        self,
        engine: sa.Engine,
        study: str,
        place: str,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.engine, self.study, self.say = engine, study, say
        self.place = f"{socket.gethostname()}:{place}"[:512]
        self.owner = uuid4().hex
        self.seconds = _lease_seconds()

    @classmethod
    def of(
        cls, storage: PatientStorage | None, study: str, place: Callable[[], str] = lambda: ""
    ) -> Leases | None:
        """Those of a study; None if its database is on this disk, where file locks are enough.

        `place` is asked for only then. An empty one is nobody's: leases of all places are seen.
        """
        if storage is None or storage.engine.dialect.name != "postgresql":
            return None
        return cls(storage.engine, study, place(), lambda text: storage.say(text))

    @contextmanager
    def alone(self, name: str, patience_seconds: float) -> Iterator[None]:
        """Hold a lock of the study in the database, which ends with this process's connection.

        Raises `SQLAlchemyError` if another process holds the lock for `patience_seconds`.
        """
        key = zlib.crc32(f"dcgan-study:{self.study}:{name}".encode())

        def lock() -> sa.Connection:
            connection = self.engine.connect()
            try:
                connection.execute(sa.text(f"SET lock_timeout = '{patience_seconds:.0f}s'"))
                connection.execute(sa.select(sa.func.pg_advisory_lock(key)))
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

    def elsewhere(self) -> dict[int, bool]:
        """Number of each trial that is leased at another place → whether the lease has expired.

        Right after an outage no lease counts as expired, because its owner could not renew it.
        """
        expired = self._expired()
        there = sa.and_(TABLE.c.study == self.study, TABLE.c.place != self.place)

        def read() -> dict[int, bool]:
            with self.engine.connect() as connection:
                rows = connection.execute(sa.select(TABLE.c.trial, expired).where(there)).all()
            quiet = quiet_seconds() > self.seconds
            return {trial: gone and quiet for trial, gone in rows}

        return patiently(read, self.say)

    def write(self, trial: int) -> None:
        """Lease the trial to this process, which holds `alone`."""
        values = {"owner": self.owner, "place": self.place, "until": self._until()}
        row = insert(TABLE).values(study=self.study, trial=trial, **values)
        row = row.on_conflict_do_update(index_elements=["study", "trial"], set_=values)
        patiently(lambda: self._execute(row), self.say)

    def renew(self, trial: int) -> bool:
        """Extend the trial's lease, without a retry; false if this process has lost it."""
        mine = self._mine(trial)
        return self._execute(sa.update(TABLE).where(mine).values(until=self._until())) == 1

    def confirm(self, trial: int) -> None:
        """Raise `LeaseLostError` unless the database says that the trial is this process's."""
        if not patiently(lambda: self.renew(trial), self.say):
            raise self.lost(trial)

    def lost(self, trial: int) -> LeaseLostError:
        """What a process says whose lease has expired, and whose trial was taken."""
        return LeaseLostError(
            f"trial {trial} is another process's by now: this process was frozen or cut off from "
            f"the database for more than {self.seconds:.0f} s"
        )

    def end(self, trial: int) -> None:
        """End the lease; it expires by itself if the database does not answer."""
        with suppress(SQLAlchemyError):
            self._execute(sa.delete(TABLE).where(self._mine(trial)))

    def forget(self, trials: list[int]) -> set[int]:
        """Remove the leases of trials whose owners are gone.

        Returns those whose owners have renewed the lease meanwhile, or cannot have done so after an
        outage, and so keep them.
        """
        theirs = sa.and_(TABLE.c.study == self.study, TABLE.c.trial.in_(trials))
        gone = sa.or_(TABLE.c.place == self.place, self._expired())

        def remove() -> set[int]:
            with self.engine.begin() as connection:
                connection.execute(sa.delete(TABLE).where(theirs, gone))
                return set(connection.execute(sa.select(TABLE.c.trial).where(theirs)).scalars())

        return patiently(remove, self.say) if trials else set()

    @contextmanager
    def kept(self, trial: int) -> Iterator[Callable[[], None]]:
        """Renew a trial's lease in the background.

        Yields a check, cheap enough for every step. It raises `LeaseLostError` if another process
        may have the trial. It waits while the database does not answer.
        """
        keeper = _Keeper(self, trial)
        keeper.start()
        try:
            yield keeper.check
        finally:
            keeper.ended.set()
            keeper.join()

    def _mine(self, trial: int) -> sa.ColumnElement[bool]:
        return sa.and_(
            TABLE.c.study == self.study, TABLE.c.trial == trial, TABLE.c.owner == self.owner
        )

    def _expired(self) -> sa.ColumnElement[bool]:
        up = sa.func.clock_timestamp() - sa.func.pg_postmaster_start_time()
        sure = up > sa.text(f"interval '{self.seconds} seconds'")
        return sa.and_(TABLE.c.until < sa.func.clock_timestamp(), sure)

    def _until(self) -> sa.ColumnElement[Any]:
        return sa.func.clock_timestamp() + sa.text(f"interval '{self.seconds} seconds'")

    def _execute(self, statement: sa.UpdateBase) -> int:
        with self.engine.begin() as connection:
            return connection.execute(statement).rowcount


class _Keeper(threading.Thread):
    """Renews one lease. The lease is certain for `leases.seconds` after `renewed`."""

    def __init__(self, leases: Leases, trial: int) -> None:
        super().__init__(daemon=True)
        self.leases, self.trial = leases, trial
        self.lost = False
        self.ended = threading.Event()
        self.renewed = _now()

    def run(self) -> None:
        """Renew the lease until it is lost or `ended` is set."""
        while not self.ended.wait(self.leases.seconds / RENEWALS_PER_LEASE) and not self.lost:
            with suppress(SQLAlchemyError):  # the next turn tries again
                self._renew()

    def check(self) -> None:
        """See `Leases.kept`."""
        if _now() - self.renewed >= self.leases.seconds and not self.lost:
            patiently(self._renew, self.leases.say)
        if self.lost:
            raise self.leases.lost(self.trial)

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
