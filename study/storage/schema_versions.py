"""Whether a database's tables are of the version that the installed library reads.

Both libraries number their schema with alembic. The numbers are read from the database and from
the library's migration scripts as text: alembic would import all of MLflow for it, and opening a
database with its library may change it.
"""

from __future__ import annotations

import re
import shlex
import sqlite3
from contextlib import closing
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from study.errors import StudyError
from study.storage.addresses import sqlite_url
from study.storage.store import Store

MIGRATIONS = {
    "optuna": "storages/_rdb/alembic/versions",
    "mlflow": "store/db_migrations/versions",
}
UPGRADE = {
    "optuna": "optuna storage upgrade --storage {url}",
    "mlflow": "mlflow db upgrade {url}",
}
TITLES = {"optuna": "Optuna", "mlflow": "MLflow"}
_REVISION = re.compile(r"^(down_)?revision(?::[^=\n]+)? = (.+)$", re.MULTILINE)


class Revisions(NamedTuple):
    """The schema versions that an installed library knows."""

    head: str
    known: frozenset[str]


def revisions(library: str) -> Revisions:
    """The schema versions of `optuna` or `mlflow`, without importing it."""
    spec = find_spec(library)
    assert spec is not None
    assert spec.submodule_search_locations
    known, before = set[str](), set[str]()
    for script in (Path(spec.submodule_search_locations[0]) / MIGRATIONS[library]).glob("*.py"):
        for down, value in _REVISION.findall(script.read_text(encoding="utf-8")):
            (before if down else known).update(re.findall(r"[\"']([^\"']+)[\"']", value))
    (head,) = known - before
    return Revisions(head, frozenset(known))


def schema_problem(database: Path, library: str) -> str | None:
    """Why a SQLite database does not fit the installed library, with the remedy.

    Returns:
        One sentence; none where it fits or where there is no such file.
    """
    if not database.is_file():
        return None
    name = "study" if library == "optuna" else TITLES[library]
    what = f"cannot open the {name} database {database}"
    remedy = "restore it from a backup, or name another results folder with --store"
    # Not "ro": SQLite must be able to undo what a killed process has left half written.
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True)) as connection:
            rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.Error as error:
        return f"{what}: {error}; {remedy}"
    if len(rows) != 1:
        return f"{what}: it names no version of its tables; {remedy}"
    return _version_problem(database, library, str(rows[0][0]))


def _version_problem(database: Path, library: str, found: str) -> str | None:
    wanted, installed = revisions(library), f"{library} {version(library)}"
    if found == wanted.head:
        return None
    where = f"the tables in {database} are of version {found}"
    if found in wanted.known:
        command = UPGRADE[library].format(url=shlex.quote(sqlite_url(database)))
        return (
            f"{where}, older than {wanted.head} of the installed {installed}; copy the file to a "
            f"safe place, then run '{command}'"
        )
    return (
        f"{where}, which the installed {installed} does not know: a newer version made them; "
        f"install that one (pip install -U {library}), or name another results folder with --store"
    )


def check_schemas(store: Store) -> None:
    """Refuse databases of another version before anything else is done.

    Raises:
        StudyError: naming the database, both versions and the remedy.
    """
    for database, library in databases(store):
        if problem := schema_problem(database, library):
            raise StudyError(problem)


def databases(store: Store) -> list[tuple[Path, str]]:
    """A store's database files and whose they are, without those that servers have."""
    files = [] if store.storage else [(store.optuna_database, "optuna")]
    return files if store.tracking else [*files, (store.mlflow_database, "mlflow")]
