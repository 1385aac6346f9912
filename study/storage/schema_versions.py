"""Whether a database's tables have the version that the installed library reads.

Both libraries number their schema with alembic. This module reads the numbers from the database and
from the text of the library's migration scripts: alembic would import all of MLflow, and a library
may change a database that it opens.
"""

from __future__ import annotations

import re
import shlex
import sqlite3
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from study.errors import StudyError
from study.storage.addresses import sqlite_url
from study.storage.store import Store
from study.storage.waiting import PATIENCE_SECONDS, is_locked, read_sqlite

MIGRATIONS = {
    "optuna": "storages/_rdb/alembic/versions",
    "mlflow": "store/db_migrations/versions",
}
UPGRADE = {
    "optuna": "optuna storage upgrade --storage {url}",
    "mlflow": "mlflow db upgrade {url}",
}
DIAGNOSIS_SECONDS = 5.0
"""How long a lock is waited for by what only asks what is wrong."""
TITLES = {"optuna": "Optuna", "mlflow": "MLflow"}
_REVISION = re.compile(r"^(down_)?revision(?::[^=\n]+)? = (.+)$", re.MULTILINE)


def revisions(library: str) -> tuple[str, set[str]]:
    """The newest and all schema versions of the installed `optuna` or `mlflow`, not imported."""
    spec = find_spec(library)
    assert spec is not None
    assert spec.submodule_search_locations
    known, before = set[str](), set[str]()
    for script in (Path(spec.submodule_search_locations[0]) / MIGRATIONS[library]).glob("*.py"):
        for down, value in _REVISION.findall(script.read_text(encoding="utf-8")):
            (before if down else known).update(re.findall(r"[\"']([^\"']+)[\"']", value))
    (head,) = known - before
    return head, known


def schema_problem(
    database: Path, library: str, patience_seconds: float = DIAGNOSIS_SECONDS
) -> str | None:
    """Why a SQLite database does not fit the installed library, and what to do, in one sentence.

    `None` if the database fits or there is no such file.
    """
    if not database.is_file():
        return None
    name = "study" if library == "optuna" else TITLES[library]
    what = f"cannot open the {name} database {database}"
    remedy = "restore it from a backup, or name another results folder with --store"
    try:
        rows = read_sqlite(database, "SELECT version_num FROM alembic_version", patience_seconds)
    except sqlite3.Error as error:
        if is_locked(error):
            return f"{what}: another process holds it locked; end that process, or wait for it"
        return f"{what}: {error}; {remedy}"
    if len(rows) != 1:
        return f"{what}: its tables have no version; {remedy}"
    found, installed = str(rows[0][0]), f"{library} {version(library)}"
    head, known = revisions(library)
    if found == head:
        return None
    where = f"the tables in {database} are of version {found}"
    if found in known:
        command = UPGRADE[library].format(url=shlex.quote(sqlite_url(database)))
        return (
            f"{where}, older than {head} of the installed {installed}; copy the file to a "
            f"safe place, then run '{command}'"
        )
    return (
        f"{where}, which the installed {installed} does not know: a newer version made them; "
        f"install that one (pip install -U {library}), or name another results folder with --store"
    )


def check_schemas(store: Store) -> None:
    """Raise `StudyError` if one of the store's databases has another version."""
    for database, library in databases(store):
        if problem := schema_problem(database, library, PATIENCE_SECONDS):
            raise StudyError(problem)


def databases(store: Store) -> list[tuple[Path, str]]:
    """A store's database files and their libraries, without the databases on servers."""
    files = [] if store.storage else [(store.optuna_database, "optuna")]
    return files if store.tracking else [*files, (store.mlflow_database, "mlflow")]
