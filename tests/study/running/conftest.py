"""Machines that share a study: a real PostgreSQL, a real MLflow server, one folder a machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from benchmarks.lib.servers import MlflowServer, Postgres, postgres
from study.storage.store import Store
from study.tracking.experiment import forget_experiment


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    """A PostgreSQL server."""
    with postgres() as server:
        yield server


@pytest.fixture
def url(database: Postgres) -> Iterator[str]:
    """An empty database."""
    yield database.url
    engine = create_engine(database.url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    engine.dispose()


@pytest.fixture
def machines(tmp_path: Path, url: str, tracking: MlflowServer) -> Iterator[tuple[Store, Store]]:
    """Two results folders that share databases, which know of no study."""
    first, second = (Store.at(tmp_path / name, url, tracking.uri) for name in "ab")
    yield first, second
    forget_experiment(first, "tiny")
