"""The way to a PostgreSQL server: how many connections, how long they last, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, func, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from study.errors import StudyError
from study.storage.leases import TABLE as LEASES
from study.storage.retries import patiently, reason_of
from study.storage.store import Store

LOCK_WAIT_SECONDS = 60
CONNECTIONS = 4
"""The most that a process has: for Optuna, for each of two nested locks, and for renewing a lease.
It keeps one; the others are closed after use. A server allows a hundred."""
OTHERS = 3
"""Clients that ask for a session at once. A pooler lends the one that was last idle first."""
TABLES_LOCK = 0x6463_6761
"""Key of the lock that a process holds while it makes a server's tables."""
CONNECTION = {
    "connect_timeout": 10,
    "application_name": "dcgan-study",
    # Client and server notice within a minute that the other one is gone. The server then
    # releases the client's locks.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    "options": "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3",
}
"""Options of psycopg and of the session."""

S = TypeVar("S")


def open_server(store: Store, make: Callable[[str, dict[str, Any]], S], *, wait: bool) -> S:
    """What `make` makes of the address of a store's server and the options for SQLAlchemy's engine.

    `wait` retries while the server does not answer. Raises `StudyError` if it cannot be used.
    """
    url = store.storage or ""
    options = {
        "pool_size": 1,
        "max_overflow": CONNECTIONS - 1,
        "pool_pre_ping": True,
        "connect_args": CONNECTION,
    }

    def connect() -> S:
        engine = create_engine(url, poolclass=NullPool, connect_args=CONNECTION)
        with _connected(engine, store) as connection:
            if _shares_sessions(engine, connection):
                raise StudyError(_behind_pooler(store))
            # One process at a time makes tables.
            connection.execute(text(f"SET lock_timeout = '{LOCK_WAIT_SECONDS}s'"))
            connection.execute(select(func.pg_advisory_lock(TABLES_LOCK)))
            LEASES.create(engine, checkfirst=True)
            return make(url, options)

    try:
        return patiently(connect) if wait else connect()
    except ModuleNotFoundError as error:
        raise StudyError(
            f"the database driver '{error.name}' is missing, which {store.optuna_place} needs; "
            "install it with: pip install 'dcgan-study[postgres]'"
        ) from None
    except StudyError:
        raise
    except Exception as error:  # SQLAlchemy's, alembic's and Optuna's own types
        raise StudyError(
            f"cannot open the study database {store.optuna_place}: {reason_of(error)}; check that "
            "the server runs, and its address, database, user and password (--storage)"
        ) from error


def _connected(engine: Engine, store: Store) -> Connection:
    """A connection. Raises `StudyError` for a pooler that does not take our options."""
    try:
        return engine.connect()
    except OperationalError as error:
        if "unsupported startup parameter" in str(error):  # PostgreSQL itself never says that
            raise StudyError(_behind_pooler(store)) from None
        raise


def _shares_sessions(engine: Engine, idle: Connection) -> bool:
    """Whether a pooler of connections gives one session to several clients.

    Each transaction may then have another session, and a session's locks belong to nobody. A proxy
    shows in what it tells the client as the process id of the session, which is its own. Whether
    it shares sessions shows when the session of an idle client serves another one.
    """
    number = select(func.pg_backend_pid())
    mine, driver = idle.scalar(number), idle.connection.dbapi_connection
    idle.commit()
    if driver is None or driver.info.backend_pid == mine:
        return False
    with ExitStack() as stack:
        others = [stack.enter_context(engine.connect()) for _ in range(OTHERS)]
        return mine in [other.scalar(number) for other in others]


def _behind_pooler(store: Store) -> str:
    return (
        f"{store.optuna_place} is a pooler of connections such as PgBouncer, and the locks of a "
        "study need a session that stays. Give the address of PostgreSQL itself (a process has at "
        f"most {CONNECTIONS} connections to it), or set pool_mode = session and "
        "ignore_startup_parameters = options in PgBouncer"
    )
