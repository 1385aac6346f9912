"""`study delete`: removes a study from Optuna's database, from MLflow's, and from the disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from dcgan.runtime.files import size_of
from study.errors import SharedPlaceError, StudyBusyError, StudyError
from study.running.claims import Claims
from study.storage.attributes import with_addresses
from study.storage.locks import check_idle
from study.storage.optuna_db import (
    clear_storage_errors,
    finished_count,
    load_optuna_study,
    remove_study,
)
from study.storage.shared_trials import SharedTrials
from study.storage.store import Store
from study.tracking.experiment import forget_experiment


def delete_study(store: Store, name: str, confirm: Callable[[str], bool]) -> bool:
    """Delete a study with its MLflow experiment and its files; return whether it was confirmed.

    MLflow comes first and the files last, so that an interrupted deletion can be repeated.
    `confirm` is called once with a question that says what will be deleted.

    Raises:
        UnknownStudyError: there is no study of that name.
        StudyBusyError: it is running.
        StudyError: a database or the files cannot be changed.
    """
    study = load_optuna_study(store, name)
    folder = store.study(name)
    store = with_addresses(store, study)
    with clear_storage_errors(store):
        check_idle(folder)
        elsewhere = Claims(study, folder).running_elsewhere()
        if elsewhere:
            raise StudyBusyError(
                f"trials {', '.join(map(str, elsewhere))} of the study '{name}' are being run on "
                "another machine; stop its workers first"
            )
        trials = len(study.get_trials(deepcopy=False))
        places = [folder.path, store.artifacts / name]
        shared, also = SharedTrials.of(store, study), ""
        if shared:
            also = f" and what is in {shared.address}/{shared.name}"
            try:
                shared.check()
            except SharedPlaceError:
                also, shared = f" (but not {shared.address}/{shared.name}, which is away)", None
        question = (
            f"delete the study '{name}': {trials} trials ({finished_count(study)} finished), "
            f"{size_of(*places) / 1e6:,.0f} MB in {folder.path} and MLflow's artifacts, "
            f"and its MLflow experiment{also}?"
        )
        if not confirm(question):
            return False
        forget_experiment(store, name)
        remove_study(study)
    try:
        for place in places:
            shutil.rmtree(place, ignore_errors=not place.exists())
    except OSError as error:
        raise StudyError(
            f"the study is gone from both databases, but {error.filename} cannot be deleted "
            f"({error.strerror}); delete {folder.path} yourself"
        ) from error
    if shared:
        try:
            shared.remove()
        except SharedPlaceError as error:
            left = f"{shared.address}/{shared.name}"
            raise StudyError(f"the study is deleted, but {left} is left: {error}") from None
    return True
