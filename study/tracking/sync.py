"""`study sync`: delivers a study's folder to any MLflow.

The folder has everything that MLflow shows. So an experiment can be completed after an outage,
rebuilt after its database was lost, or copied to a team's server.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from optuna.study import Study

from dcgan.config.settings import validate
from dcgan.config.yaml_files import read_yaml
from dcgan.training.run.folder import RunFolder
from study.config.study_config import StudyConfig
from study.errors import StudyError, UnknownStudyError
from study.search.rungs import Rungs, going_on, standings
from study.storage.addresses import check_tracking_uri
from study.storage.attributes import with_addresses
from study.storage.held import held_trials
from study.storage.locks import held_full_runs, running
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store, StudyFolder
from study.storage.trial_record import TrialRecord
from study.storage.trial_result import SAMPLER
from study.tracking.catch_up import FINISHED_NAMES, catch_up
from study.tracking.client import required
from study.tracking.experiment import Tracker, has_views
from study.tracking.study_page import publish
from study.tracking.ui import first_link


def sync_study(
    store: Store,
    name: str,
    uri: str | None = None,
    *,
    say: Callable[[str], None] = lambda text: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Deliver to MLflow what it does not show of a study yet.

    Args:
        uri: the MLflow server or database (default: where the study's launches log).
        say: called with what is left out, and at the end with what was delivered.
        on_progress: called with (done, total) after each trial.

    Raises:
        UnknownStudyError: the store has no files of this study.
        UsageError: the URI is not valid.
        StudyError: MLflow cannot be reached, or no trial has begun.
    """
    folder = store.study(name)
    if not folder.config.is_file():
        raise UnknownStudyError(
            f"there are no files of a study '{name}' in {store.root}; see 'study list', or name "
            "another results folder with --store"
        )
    target = mlflow_store(uri, store.root) if uri else _own_mlflow(store, name)
    config = validate(StudyConfig, read_yaml(folder.config), str(folder.config), folder.path)
    records = _records(folder, say)
    if not records:
        raise StudyError(f"no trial of '{name}' has begun, so there is nothing to deliver")
    study = None
    with suppress(StudyError):
        study = _optuna_study(store, name)
    is_held, underway = held_trials(folder, study), set[int]()

    def left_alone(number: int) -> bool:
        if is_held(number):
            underway.add(number)
        return number in underway

    with required("deliver to", target, "; the same command goes on where it stopped"):
        tracker = Tracker(target, folder, config, records[0].identity)
        delivered = catch_up(
            tracker,
            _states(study, records),
            left_alone,
            on_progress=on_progress,
        )
        full = _deliver_full_runs(tracker)
        if folder.leaderboard.exists():  # otherwise this machine has only joined the study
            publish(tracker)
            if _is_over(study, config, records):
                tracker.set_parent_state("COMPLETE")
            elif not running(folder) and tracker.parent_status() == "RUNNING":
                tracker.set_parent_state("WAITING")
    there = len(records) - delivered - len(underway)
    say(
        f"'{name}' in {target.mlflow_place}: {delivered} of {len(records)} trials delivered, "
        f"{there} were there"
        + (f", {len(underway)} being run now" if underway else "")
        + (f"; {full} full runs" if full else "")
    )
    if target.tracking:
        views = has_views(target, tracker.experiment_id)
        link = first_link(tracker.experiment_id, target.tracking, views=views)
        say(f"compare the trials: {link}")


def _own_mlflow(store: Store, name: str) -> Store:
    """The store with the MLflow server of the study's launches, if Optuna's database names one."""
    study = None if store.tracking else _optuna_study(store, name)
    return with_addresses(store, study) if study else store


def _optuna_study(store: Store, name: str) -> Study | None:
    """The study in Optuna's database; None if it is lost."""
    if not (store.storage or store.optuna_database.is_file()):
        return None
    try:
        return load_optuna_study(store, name)
    except UnknownStudyError:
        return None


def _is_over(study: Study | None, config: StudyConfig, records: list[TrialRecord]) -> bool:
    """Whether no trial is left to run; those that wait on a rung may still go on.

    Whether one does is in Optuna's database. Where that is lost, none does.
    """
    if sum(record.state in FINISHED_NAMES for record in records) < config.study.trials:
        return False
    rungs = Rungs.of(config)
    if rungs is None or study is None:
        return True
    return not going_on(standings(study.get_trials(deepcopy=False), rungs), rungs, new=False)


def _states(study: Study | None, records: list[TrialRecord]) -> dict[int, str]:
    """Optuna's states, which are later than this disk's if another machine went on with a trial.

    Those of the records where its database is lost.
    """
    states = {record.number: record.state for record in records}
    if study is None:
        return states
    now = {trial.number: trial.state.name for trial in study.get_trials(deepcopy=False)}
    return {number: now.get(number, state) for number, state in states.items()}


def _records(folder: StudyFolder, say: Callable[[str], None]) -> list[TrialRecord]:
    records = []
    for path in folder.trials().values():
        if record := TrialRecord.load(path):
            records.append(record)
        else:
            say(f"note: {path} has no readable trial.json and is left out")
    return records


def _deliver_full_runs(tracker: Tracker) -> int:
    held = held_full_runs(tracker.folder)  # their own processes deliver these
    folders = {n: path for n, path in tracker.folder.full_runs().items() if path not in held}
    for number, path in folders.items():
        trial = TrialRecord.load(tracker.folder.trial(number))
        origin = (trial.baseline if trial else None) or SAMPLER
        params = trial.params if trial else {}
        mirror = tracker.mirror_of_full_run(number, params, {"origin": origin})
        mirror.deliver()
        mirror.deliver_files()
        mirror.set_state("COMPLETE" if RunFolder(path).result.exists() else "WAITING")
    return len(folders)


def mlflow_store(uri: str, root: Path) -> Store:
    """A store with the MLflow of a URI: a server, or a results folder's `sqlite:///…/mlflow.db`.

    `root` is the results folder beside a server. Raises `UsageError` if the URI is neither.
    """
    scheme, _, path = uri.partition(":///")
    store = Store(Path(unquote(path)).expanduser().resolve().parent)
    if scheme in ("sqlite", "sqlite+pysqlite") and path.endswith(f"/{store.mlflow_database.name}"):
        store.create()
        return store
    return Store(root, tracking=check_tracking_uri(uri))
