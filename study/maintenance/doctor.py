"""`study doctor`: the checks of a results folder and its studies.

A check changes nothing: it creates no folder, database or cache, and keeps no lock. (On a database
server it creates a missing table and records this machine's disk, as every command does.)
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from optuna.study import Study

from dcgan.runtime.files import why_unwritable
from dcgan.runtime.health import Check, Finding, cache, device, disk, versions
from study.errors import StudyError
from study.maintenance.study_checks import study_checks
from study.storage.attributes import with_addresses
from study.storage.file_systems import disk_doubt, disk_fault, file_system
from study.storage.optuna_db import load_all_studies, load_optuna_study, open_storage
from study.storage.schema_versions import TITLES, databases, schema_problem
from study.storage.shared_trials import SharedTrials
from study.storage.store import Store
from study.tracking.client import open_client, required
from study.tracking.relocate import describe_misplaced

SCHEMA_FITS = "its schema matches the installed version"
SPACE = "a study at 64×64 keeps 30 MB of pictures a trial and a few checkpoints of 50 to 200 MB"


def store_checks(store: Store, name: str | None = None) -> list[Check]:
    """The checks of the machine, a results folder and one study (or all of them).

    Raises `UnknownStudyError` if there is no study of that name.
    """
    checks: list[Check] = [partial(versions, "optuna", "mlflow"), device, cache]
    existing = next(folder for folder in (store.root, *store.root.parents) if folder.is_dir())
    checks += [partial(_place, store), partial(disk, existing, SPACE)]
    checks += [partial(_database, path, library) for path, library in databases(store)]
    if store.storage:
        checks.append(partial(_storage_server, store))
    if store.tracking:
        checks.append(partial(_tracking_server, store))
    checks.append(partial(_artifacts, store))
    for study in _studies(store, name):
        own = with_addresses(store, study)
        if shared := SharedTrials.of(own, study):
            checks.append(partial(_shared_place, shared))
        try:
            checks += study_checks(study, own)
        except StudyError as error:  # a study of another program
            checks.append(partial(Finding, "warning", str(error)))
    return checks


def _shared_place(shared: SharedTrials) -> Finding:
    shared.check()
    return Finding("ok", f"{shared.address}/{shared.name} gets trials' folders, and takes them")


def _studies(store: Store, name: str | None) -> list[Study]:
    """The studies to check; empty if their database is missing or broken (`_database` says so)."""
    if store.storage:
        broken = _storage_server(store).state == "fault"
    else:
        broken = schema_problem(store.optuna_database, "optuna") is not None
    if broken:
        return []
    if name is not None:
        return [load_optuna_study(store, name)]
    return load_all_studies(store) if store.storage or store.optuna_database.is_file() else []


def _storage_server(store: Store) -> Finding:
    try:
        open_storage(store).engine.dispose()
    except StudyError as error:
        return Finding("fault", str(error))
    return Finding("ok", f"Optuna's database: {store.optuna_place}, {SCHEMA_FITS}")


def _tracking_server(store: Store) -> Finding:
    with required("ask", store, "; start it, or name another with --tracking-uri"):
        open_client(store).search_experiments(max_results=1)
    return Finding("ok", f"MLflow's server: {store.mlflow_place} answers")


def _place(store: Store) -> Finding:
    elsewhere = "name another results folder with --store"
    if store.has_databases and (fault := disk_fault(store.root)):
        return Finding("fault", f"{fault}; {elsewhere}")
    if store.has_databases and (doubt := disk_doubt(store.root)):
        return Finding("warning", f"{doubt}; {elsewhere} on a local disk")
    if problem := why_unwritable(store.root):
        return Finding(
            "fault", f"results cannot be written to {store.root}: {problem}; {elsewhere}"
        )
    if not store.root.exists():
        return Finding(
            "warning", f"there is no results folder {store.root} yet; 'study run' makes it"
        )
    return Finding("ok", f"results in {store.root} ({file_system(store.root) or 'a local disk'})")


def _database(path: Path, library: str) -> Finding:
    title = f"{TITLES[library]}'s database"
    if not path.is_file():
        return Finding("warning", f"there is no {path} ({title}) yet; 'study run' makes it")
    if problem := schema_problem(path, library):
        return Finding("fault", problem)
    if not os.access(path, os.W_OK):
        return Finding("fault", f"{path} ({title}) cannot be written to; change its permissions")
    return Finding("ok", f"{title}: {path.stat().st_size / 1e6:,.1f} MB, {SCHEMA_FITS}")


def _artifacts(store: Store) -> Finding:
    if store.tracking:
        return Finding("ok", "MLflow's artifacts are kept by its server")
    if not store.mlflow_database.is_file() or schema_problem(store.mlflow_database, "mlflow"):
        return Finding("ok", "MLflow's artifacts: none known")
    if problem := describe_misplaced(store):
        return Finding("fault", problem)
    return Finding("ok", f"MLflow's artifacts are recorded in {store.artifacts}")
