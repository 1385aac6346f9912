"""`study relocate`: repairs MLflow's records after a results folder was moved.

MLflow records the absolute place of artifacts in a row for each experiment, run and logged model.
Everything else in a store names its files relative to the store. MLflow's client cannot change
these rows, so they are read and written in its SQLite database directly.
"""

from __future__ import annotations

import os
import re
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from dcgan.errors import first_line
from study.errors import StudyBusyError, StudyError, UnknownStudyError
from study.storage.locks import check_idle
from study.storage.store import Store

WAIT_SECONDS = 5.0
"""How long to wait for another process that writes; a write takes it milliseconds."""


class Table(NamedTuple):
    """A table of MLflow that records artifact locations."""

    name: str
    key: str
    uri: str
    row: str
    """What messages call a row."""


TABLES = (
    Table("experiments", "experiment_id", "artifact_location", "experiment"),
    Table("runs", "run_uuid", "artifact_uri", "run"),
    Table("logged_models", "model_id", "artifact_location", "logged model"),
)


class Misplaced(NamedTuple):
    """A row that names another folder than the store's own."""

    table: Table
    key: str | int
    place: str
    """The `artifacts` folder that it names."""
    uri: str
    """Where the artifacts are in this store."""


@contextmanager
def opened(store: Store, *, write: bool = False) -> Iterator[sqlite3.Connection]:
    """The store's MLflow database, which must exist; nothing is created or upgraded.

    `write` holds the database for one transaction, which an error rolls back. Raises
    `StudyBusyError` if another process is writing to it, and `StudyError` if it cannot be used.
    """
    database = store.mlflow_database
    # "rw" to read, too: SQLite must be able to undo what a killed process has left half written.
    uri = f"{database.as_uri()}?mode=rw"
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=WAIT_SECONDS, isolation_level=None)
        with closing(connection), connection:
            if write:
                connection.execute("BEGIN IMMEDIATE")
            yield connection
    except sqlite3.Error as error:
        if "locked" in str(error):
            raise StudyBusyError(
                f"another process is writing to {database}; end the 'study run' or 'study ui' of "
                "this folder first"
            ) from error
        reason = first_line(error)
        raise StudyError(f"cannot use the MLflow database {database}: {reason}") from error


def misplaced(store: Store, connection: sqlite3.Connection) -> list[Misplaced]:
    """The rows of the store's studies that name another folder, deleted ones included."""
    query = "SELECT name FROM sqlite_master WHERE type = 'table'"
    existing = {name for (name,) in connection.execute(query)}
    return [
        Misplaced(table, key, *places)
        for table in TABLES
        if table.name in existing
        for key, uri in connection.execute(f"SELECT {table.key}, {table.uri} FROM {table.name}")
        if uri and (places := places_of(store, uri))
    ]


def places_of(store: Store, uri: str) -> tuple[str, str] | None:
    """The `artifacts` folder that a recorded URI names, and the URI that is right in this store.

    `None` if nothing needs to change. Only `…/artifacts/FOLDER` on a local disk is changed, and
    only if the store has that folder: any other place was somebody's choice. An experiment that was
    renamed keeps the folder of its first name.
    """
    match = re.fullmatch(r"(.*/artifacts)/([^/]+)((?:/.*)?)", uri)
    folder = store.artifacts / unquote(match[2]) if match else store.artifacts
    if match is None or urlsplit(uri).scheme not in ("", "file") or not folder.is_dir():
        return None
    right = folder.as_uri() + match[3]
    return None if right == uri else (unquote(urlsplit(match[1]).path), right)


def describe_misplaced(store: Store) -> str | None:
    """One sentence with the remedy if artifacts are recorded elsewhere, otherwise `None`.

    Raises `StudyError` if the database cannot be read.
    """
    if store.tracking or not store.mlflow_database.is_file():
        return None
    with opened(store) as connection:
        rows = misplaced(store, connection)
    if not rows:
        return None
    return (
        f"MLflow's artifacts are recorded under {rows[0].place}, not in this results folder "
        f"(was it moved or copied?); run 'study relocate --store {shlex.quote(str(store.root))}'"
    )


def relocate(store: Store) -> list[str]:
    """Record the store as the place of its artifacts; return a sentence for each changed folder.

    Raises:
        UnknownStudyError: there is no MLflow database.
        StudyBusyError: a study is running there, or the database is being written to.
        StudyError: it cannot be changed.
    """
    _check_changeable(store)
    with opened(store, write=True) as connection:
        rows = misplaced(store, connection)
        for table, key, _, uri in rows:
            update = f"UPDATE {table.name} SET {table.uri} = ? WHERE {table.key} = ?"
            connection.execute(update, (uri, key))
    if not rows:
        return [f"nothing to do: MLflow's artifacts are recorded in {store.artifacts}"]
    said = []
    for place in sorted({row.place for row in rows}):
        tables = [row.table for row in rows if row.place == place]
        counts = ", ".join(
            f"{count} {table.row}{'s' * (count != 1)}"
            for table in TABLES
            if (count := tables.count(table))
        )
        said.append(f"relocated {counts}: from {place} to {store.artifacts}")
    return said


def _check_changeable(store: Store) -> None:
    if not store.mlflow_database.is_file():
        raise UnknownStudyError(
            f"there is no MLflow database in {store.root}; name the results folder with --store"
        )
    if not os.access(store.mlflow_database, os.W_OK):
        raise StudyError(
            f"{store.mlflow_database} cannot be written to; change its permissions, or ask its "
            "owner to run 'study relocate'"
        )
    for folder in store.study_folders():
        check_idle(folder)
