"""`study delete`: a study leaves Optuna's database, MLflow's, and the disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import optuna
import typer

from dcgan.cli.console import say
from study.errors import StudyBusyError, StudyError
from study.running.claims import Claims
from study.storage.attributes import with_tracking
from study.storage.locks import check_idle
from study.storage.optuna_db import clear_storage_errors, finished_count, load_optuna_study
from study.storage.store import Store
from study.tracking.experiment import forget_experiment


def delete_study(store: Store, name: str, *, sure: bool) -> None:
    """Delete a study and everything of it, after a question.

    MLflow comes first and the files last, so that a deletion that was cut off can be repeated.

    Args:
        sure: do not ask.

    Raises:
        UnknownStudyError: there is none of that name.
        StudyBusyError: it is running.
        StudyError: a database or the files cannot be changed.
    """
    study = load_optuna_study(store, name)
    folder = store.study(name)
    store = with_tracking(store, study)
    with clear_storage_errors(store):
        check_idle(folder)
        held = Claims(study, folder).running_elsewhere()
        if held:
            raise StudyBusyError(
                f"trials {', '.join(map(str, held))} of the study '{name}' are being run on "
                "another machine; stop its workers first"
            )
        trials = len(study.get_trials(deepcopy=False))
        places = [folder.path, store.artifacts / name]
        size = sum(_bytes(place) for place in places) / 1e6
        question = (
            f"delete the study '{name}': {trials} trials ({finished_count(study)} finished), "
            f"{size:,.0f} MB in {folder.path} and MLflow's artifacts, its MLflow experiment?"
        )
        if not sure and not typer.confirm(question):
            say("nothing was deleted")
            return
        forget_experiment(store, name)
        optuna.delete_study(study_name=name, storage=study._storage)
        try:
            for place in places:
                shutil.rmtree(place, ignore_errors=not place.exists())
        except OSError as error:
            raise StudyError(
                f"the study is gone from both databases, but {error.filename} cannot be deleted "
                f"({error.strerror}); delete {folder.path} yourself"
            ) from error
    say(f"deleted the study '{name}'")


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
