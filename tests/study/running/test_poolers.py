"""A study refuses a pooler that shares sessions, and keeps few connections to PostgreSQL."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from shared import wait_for

from benchmarks.lib.servers import PASSWORD, Postgres, free_port, postgres_programs
from study.running.study import run_study
from study.storage.server import CONNECTIONS
from study.storage.store import Store

pytestmark = pytest.mark.skipif(
    postgres_programs() is None, reason="PostgreSQL (initdb, pg_ctl) is not installed"
)
SETTINGS = """
[databases]
study = host=127.0.0.1 port={server} user=study password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
ignore_startup_parameters = {ignored}
"""


@contextmanager
def pgbouncer(server: Postgres, mode: str, ignored: str) -> Iterator[str]:
    """A PgBouncer before a server; yields its address."""
    port = free_port()
    file = server.folder / "pgbouncer.ini"  # where its user can read it
    words = {"server": server.port, "password": PASSWORD, "port": port}
    file.write_text(SETTINGS.format(mode=mode, ignored=ignored, **words))
    file.chmod(0o644)
    process = subprocess.Popen(
        ["pgbouncer", str(file)], stderr=subprocess.DEVNULL, user=server.user
    )
    try:
        wait_for(lambda: _answers(port) or process.poll() is not None)
        yield server.url.replace(f":{server.port}/", f":{port}/")
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="PgBouncer is not installed")
@pytest.mark.parametrize(
    ("mode", "ignored"), [("transaction", "options"), ("transaction", ""), ("session", "")]
)
def test_a_pooler_is_refused_with_the_reason(
    database: Postgres, shell: Any, study_file: Any, tmp_path: Path, mode: str, ignored: str
) -> None:
    with pgbouncer(database, mode, ignored) as url:
        arguments = ("run", study_file(), "--store", tmp_path / "s", "--storage", url)
        (line,) = shell(*arguments, code=1).stderr.strip().splitlines()
    assert "is a pooler of connections such as PgBouncer" in line
    assert f"a process has at most {CONNECTIONS} connections" in line
    assert PASSWORD not in line
    assert not (tmp_path / "s/studies").exists()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="PgBouncer is not installed")
def test_a_pooler_that_leaves_sessions_alone_works(
    database: Postgres, url: str, tiny_study: Callable[..., Any], bank: Any, tmp_path: Path
) -> None:
    with pgbouncer(database, "session", "options") as pooled:
        done = run_study(tiny_study(study__trials=2), Store.at(tmp_path / "a", pooled), bank=bank)
        assert done.finished == 2


@pytest.mark.slow
def test_a_worker_has_few_connections(
    tiny_study: Callable[..., Any], url: str, bank: Any, tmp_path: Path
) -> None:
    counts: list[int] = []
    ended = threading.Event()
    engine = sa.create_engine(
        url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
    )
    ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dcgan-study'"

    def count() -> None:
        with engine.connect() as connection:
            while not ended.wait(0.005):
                counts.append(int(connection.scalar(sa.text(ours)) or 0))

    counter = threading.Thread(target=count)
    counter.start()
    try:
        run_study(tiny_study(study__trials=3), Store.at(tmp_path / "a", url), bank=bank)
    finally:
        ended.set()
        counter.join()
        engine.dispose()
    assert 1 <= max(counts) <= CONNECTIONS + 1  # and the one that makes the tables
