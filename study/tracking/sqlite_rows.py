"""MLflow's SQLite database read (and for `study relocate` written) as plain rows.

For questions about a whole store: where its artifacts are recorded, and how its runs have ended.
A client would take seconds to load, and make or change what it does not find.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple

from dcgan.errors import first_line
from study.errors import StudyBusyError, StudyError
from study.storage.store import Store

WAIT_SECONDS = 5.0
"""For another process that writes: it takes it milliseconds, unless it is stuck."""

_LOCATIONS = {
    "experiments": "SELECT experiment_id, name, artifact_location FROM experiments",
    "runs": """SELECT run_uuid, experiments.name, artifact_uri FROM runs
        JOIN experiments USING (experiment_id)""",
    "logged_models": """SELECT model_id, experiments.name, logged_models.artifact_location
        FROM logged_models JOIN experiments USING (experiment_id)""",
}
_UPDATES = {
    "experiments": "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
    "runs": "UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?",
    "logged_models": "UPDATE logged_models SET artifact_location = ? WHERE model_id = ?",
}


class Location(NamedTuple):
    """Where a row's artifacts are recorded to be."""

    table: str
    key: str | int
    experiment: str
    uri: str


@contextmanager
def opened(store: Store, *, write: bool = False) -> Iterator[sqlite3.Connection]:
    """The store's MLflow database, which must exist; nothing is made or upgraded.

    Args:
        write: for one transaction, which is taken back after an error.

    Raises:
        StudyBusyError: another process holds it.
        StudyError: it cannot be read or written.
    """
    database = store.mlflow_database
    # "rw" to read, too: SQLite must be able to undo what a killed process has left half written.
    uri = f"{database.as_uri()}?mode=rw"
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=WAIT_SECONDS, isolation_level=None)
        with closing(connection):
            if not write:
                yield connection
                return
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        if "locked" in str(error):
            raise StudyBusyError(
                f"another process is writing to {database}; end the 'study run' or 'study ui' of "
                "this folder first"
            ) from error
        raise StudyError(
            f"cannot use the MLflow database {database}: {first_line(error)}"
        ) from error


def locations(connection: sqlite3.Connection) -> list[Location]:
    """Every artifact location of experiments, runs and logged models, deleted ones too."""
    query = "SELECT name FROM sqlite_master WHERE type = 'table'"
    tables = {name for (name,) in connection.execute(query)}
    return [
        Location(table, *row)
        for table, select in _LOCATIONS.items()
        if table in tables
        for row in connection.execute(select)
        if row[-1]
    ]


def set_location(connection: sqlite3.Connection, location: Location, uri: str) -> None:
    """Record another place for a row's artifacts."""
    connection.execute(_UPDATES[location.table], (uri, location.key))


def trial_statuses(connection: sqlite3.Connection, study: str) -> dict[int, str]:
    """Trial number → its run's status as MLflow names it; `DELETED` if a person deleted it."""
    rows = connection.execute(
        """SELECT number.value, runs.status, runs.lifecycle_stage FROM runs
        JOIN experiments USING (experiment_id)
        JOIN tags AS kind ON kind.run_uuid = runs.run_uuid AND kind.key = 'kind'
        JOIN tags AS number
            ON number.run_uuid = runs.run_uuid AND number.key = 'optuna.trial_number'
        WHERE experiments.name = ? AND kind.value = 'trial'
        ORDER BY runs.lifecycle_stage = 'active'""",  # active ones last, so that they count
        (study,),
    )
    return {
        int(number): status if stage == "active" else "DELETED" for number, status, stage in rows
    }
