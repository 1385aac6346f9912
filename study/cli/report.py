"""`study report`."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from dcgan.cli.console import say
from dcgan.errors import UsageError
from dcgan.runtime.imports import quick_imports
from study.report.page import write_report
from study.storage.attributes import with_tracking
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store


def report_study(store: Store, name: str, output: Path | None, *, opened: bool) -> None:
    """Write a study's report, show it with the study's run in MLflow, and say where it is."""
    study = load_optuna_study(store, name)
    path = (output or Path("report.html")).absolute()
    try:
        write_report(study, store, path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose another -o FILE") from None
    say(str(path))
    with quick_imports():
        from study.tracking.client import tolerate_mlflow_errors
        from study.tracking.experiment import log_to_study

    with tolerate_mlflow_errors(lambda text: say(f"note: {text}")):
        log_to_study(with_tracking(store, study), name, path)
    if opened:
        webbrowser.open(path.as_uri())
