"""`study relocate`: mends MLflow's records after a results folder was moved.

MLflow records the absolute place of artifacts in a row for each experiment and each run. Everything
else in a store names its files relative to the store.
"""

from __future__ import annotations

import os
import re
import shlex
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from study.errors import StudyError, UnknownStudyError
from study.storage.locks import check_idle
from study.storage.store import Store
from study.tracking.sqlite_rows import Location, locations, opened, set_location

TABLES = {"experiments": "experiment", "runs": "run", "logged_models": "logged model"}


class Misplaced(NamedTuple):
    """A row that names another folder than the store's own."""

    location: Location
    right: str
    """Where the artifacts are in this store."""


def misplaced(store: Store, recorded: list[Location]) -> list[Misplaced]:
    """The rows of the store's own studies that name another folder.

    Only `…/artifacts/EXPERIMENT` on a local disk is meant, and only where the store has that
    folder: other places are somebody's choice.
    """
    found = []
    for location in recorded:
        folder = store.artifacts / location.experiment
        parts = _split(location)
        if parts is not None and folder.is_dir():
            right = folder.as_uri() + parts[1]
            if right != location.uri:
                found.append(Misplaced(location, right))
    return found


def describe_misplaced(store: Store) -> str | None:
    """One sentence with the remedy where artifacts are recorded elsewhere; none where all is right.

    Raises:
        StudyError: the database cannot be read.
    """
    if store.tracking or not store.mlflow_database.is_file():
        return None
    with opened(store) as connection:
        rows = misplaced(store, locations(connection))
    if not rows:
        return None
    return (
        f"MLflow's artifacts are recorded under {_place(rows[0])}, not in this results folder "
        f"(was it moved or copied?); run 'study relocate --store {shlex.quote(str(store.root))}'"
    )


def relocate(store: Store) -> list[str]:
    """Make MLflow look for the artifacts in the store.

    Returns:
        What was changed, a sentence for each folder that was recorded.

    Raises:
        UnknownStudyError: there is no MLflow database.
        StudyBusyError: a study is running there, or the database is being written to.
        StudyError: it cannot be changed.
    """
    _check_changeable(store)
    with opened(store) as connection:
        rows = misplaced(store, locations(connection))
    if not rows:
        return [f"nothing to do: MLflow's artifacts are recorded in {store.artifacts}"]
    with opened(store, write=True) as connection:
        rows = misplaced(store, locations(connection))  # again: now nobody else can write
        for row in rows:
            set_location(connection, row.location, row.right)
    said = []
    for place in sorted({_place(row) for row in rows}):
        here = [row for row in rows if _place(row) == place]
        counts = ", ".join(
            f"{count} {what}{'s' * (count != 1)}"
            for table, what in TABLES.items()
            if (count := sum(row.location.table == table for row in here))
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


def _split(location: Location) -> tuple[str, str] | None:
    """A local URI up to `/artifacts`, and what is below `/EXPERIMENT`; none for other places."""
    if urlsplit(location.uri).scheme not in ("", "file"):
        return None
    name = re.escape(location.experiment)
    match = re.fullmatch(rf"(.*/artifacts)/{name}((?:/.*)?)", location.uri)
    return None if match is None else (match[1], match[2])


def _place(row: Misplaced) -> str:
    """The `artifacts` folder that a row names, as a person writes it."""
    parts = _split(row.location)
    assert parts is not None
    return unquote(urlsplit(parts[0]).path)
