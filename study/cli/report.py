"""`study report`."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from optuna.study import Study

from dcgan.cli.console import say
from dcgan.errors import DcganError, UsageError
from dcgan.runtime.imports import quick_imports
from study.report.page import write_report
from study.storage.attributes import with_addresses
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store


def report_when_finished(study: Study, store: Store) -> Path | None:
    """Write the report of a study whose total is reached, unless it is newer than the leaderboard.

    Returns where it is; None if it could not be written, which is said.
    """
    folder = store.study(study.study_name)
    if _modified(folder.report) > _modified(folder.leaderboard):
        return folder.report
    try:
        write_report(study, store, folder.report)
    except (OSError, DcganError) as error:
        say(f"note: no report was written to {folder.report}: {error}")
        return None
    _log(store, study, folder.report)
    return folder.report


def _modified(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def report_study(store: Store, name: str, output: Path | None, *, opened: bool) -> None:
    """Write a study's report, show it with the study's run in MLflow, and say where it is."""
    study = load_optuna_study(store, name)
    path = (output or Path("report.html")).absolute()
    try:
        write_report(study, store, path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose another -o FILE") from None
    say(str(path))
    _log(store, study, path)
    if opened:
        webbrowser.open(path.as_uri())


def _log(store: Store, study: Study, path: Path) -> None:
    """Show a report with the study's run in MLflow."""
    with quick_imports():
        from study.tracking.client import tolerate_mlflow_errors
        from study.tracking.experiment import log_to_study

    with tolerate_mlflow_errors(lambda text: say(f"note: {text}")):
        log_to_study(with_addresses(store, study), study.study_name, path)
