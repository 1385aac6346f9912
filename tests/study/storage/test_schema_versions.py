"""Databases of another version: one sentence that says which, and what to do."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from optuna.storages import RDBStorage

from study.config.study_config import StudyConfig
from study.errors import StudyError
from study.storage.schema_versions import check_schemas, revisions, schema_problem
from study.storage.store import Store
from study.tracking.experiment import Tracker, trials_shown_of
from study.tracking.relocate import opened

Shell = Callable[..., subprocess.CompletedProcess[str]]
Writer = Callable[..., Path]
OLDER = {"optuna": "v3.0.0.d", "mlflow": "451aebb31d03"}


def stamp(database: Path, version: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))


def test_the_newest_version_is_the_one_a_new_database_has(store: Store) -> None:
    """What the libraries themselves say, against what is read from their scripts."""
    storage = RDBStorage(store.optuna_url)
    head, known = revisions("optuna")
    assert head == storage.get_head_version()
    assert known == set(storage.get_all_versions())
    storage.engine.dispose()
    with closing(sqlite3.connect(store.mlflow_database)) as connection:
        ((made,),) = connection.execute("SELECT version_num FROM alembic_version")
    head, known = revisions("mlflow")
    assert head == made
    assert OLDER["mlflow"] in known
    check_schemas(store)


def test_nothing_heavy_is_imported_for_it() -> None:
    code = (
        "import sys; from study.storage.schema_versions import revisions\n"
        "revisions('mlflow'); revisions('optuna')\n"
        "print(sorted({'mlflow', 'optuna', 'alembic', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("library", ["optuna", "mlflow"])
def test_newer_and_older_tables(store: Store, library: str) -> None:
    database = store.root / f"{library}.db"
    stamp(database, "v99.0.0")
    newer = schema_problem(database, library)
    assert newer is not None
    assert f"{database} are of version v99.0.0" in newer
    assert f"pip install -U {library}" in newer
    stamp(database, OLDER[library])
    older = schema_problem(database, library)
    assert older is not None
    assert f"older than {revisions(library)[0]}" in older
    assert f"sqlite:///{database}'" in older
    assert "upgrade" in older
    assert "pip" not in older


DIE = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA cache_size = 1")  # so that pages are written before the end
connection.execute("BEGIN")
connection.execute("CREATE TABLE half (text)")
connection.executemany("INSERT INTO half VALUES (?)", [("x" * 5000,)] * 50)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("by_client", [True, False])
def test_the_rows_of_a_half_written_mlflow_database_are_read(
    own_finished: Store, by_client: bool
) -> None:
    database = own_finished.mlflow_database
    subprocess.run([sys.executable, "-c", DIE, str(database)])
    assert database.with_name(f"{database.name}-journal").stat().st_size > 0
    if by_client:
        assert len(trials_shown_of(own_finished, "tiny")) == 6
    else:
        with opened(own_finished) as connection:
            ((runs,),) = connection.execute("SELECT COUNT(*) FROM runs")
        assert runs == 7


@pytest.mark.parametrize("library", ["optuna", "mlflow"])
def test_what_a_killed_process_left_half_written_is_undone(store: Store, library: str) -> None:
    database = store.root / f"{library}.db"
    subprocess.run([sys.executable, "-c", DIE, str(database)])
    journal = database.with_name(f"{database.name}-journal")
    assert journal.stat().st_size > 0
    assert schema_problem(database, library) is None
    assert not journal.exists()
    with closing(sqlite3.connect(database)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE name = 'half'")
        assert tables.fetchall() == []


def test_what_is_no_database_at_all(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    assert schema_problem(path, "optuna") is None
    assert not path.exists()
    path.write_text("not a database, but a text that is long enough for its header" * 9)
    said = schema_problem(path, "optuna")
    assert said is not None
    assert "file is not a database" in said
    path.unlink()
    sqlite3.connect(path).execute("CREATE TABLE other (x)").connection.close()
    said = schema_problem(path, "optuna")
    assert said is not None
    assert "alembic_version" in said


@pytest.mark.parametrize("command", ["show", "list", "run", "export", "gc"])
def test_commands_on_a_newer_optuna_database(
    shell: Shell, own_finished: Store, study_file: Writer, command: str
) -> None:
    stamp(own_finished.optuna_database, "v99.0.0")
    argument = {"run": [study_file()], "list": []}.get(command, ["tiny"])
    done = shell(command, *argument, "--store", own_finished.root, code=1)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "optuna.db are of version v99.0.0" in line
    assert "pip install -U optuna" in line


def test_a_newer_mlflow_database_stops_a_launch_at_once(
    shell: Shell, own_finished: Store, study_file: Writer, tiny_study: Callable[..., StudyConfig]
) -> None:
    stamp(own_finished.mlflow_database, "newer")
    done = shell("run", study_file(), "--store", own_finished.root, code=1)
    assert "mlflow.db are of version newer" in done.stderr
    assert "photos" not in done.stderr
    with pytest.raises(StudyError, match="are of version newer"):
        Tracker(own_finished, own_finished.study("tiny"), tiny_study(), {})
    shell("show", "tiny", "--store", own_finished.root)  # needs Optuna's alone
