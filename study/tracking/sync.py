"""`study sync`: delivers a study's MLflow experiment from the study's folder, to any MLflow.

The folder has everything that MLflow shows. An experiment can be completed after an outage, made
again after its database was lost, or made on a team's server.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dcgan.config.settings import validate
from dcgan.config.yaml_files import read_yaml
from dcgan.training.run.folder import RunFolder
from study.config.study_config import StudyConfig
from study.errors import StudyError, UnknownStudyError
from study.search.objective import score_of
from study.storage.addresses import check_tracking_uri
from study.storage.attributes import with_tracking
from study.storage.locks import lock_folders, running, trial_is_held
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store, StudyFolder
from study.storage.trial_record import TrialRecord
from study.tracking.catch_up import FINISHED_NAMES, catch_up
from study.tracking.client import required
from study.tracking.experiment import NOTE_ROWS, Tracker
from study.tracking.ui import trials_link


def sync_study(
    store: Store,
    name: str,
    uri: str | None = None,
    *,
    say: Callable[[str], None] = lambda text: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Deliver to an MLflow what it does not show of a study yet.

    Args:
        uri: the MLflow (default: where the study's launches log).
        say: called with what is left out, and at the end with what was delivered.
        on_progress: called with (done, total) after each trial.

    Raises:
        UnknownStudyError: the store has no files of such a study.
        UsageError: the URI cannot be one.
        StudyError: MLflow cannot be reached.
    """
    folder = store.study(name)
    if not folder.config.is_file():
        raise UnknownStudyError(
            f"there are no files of a study '{name}' in {store.root}; see 'study list', or name "
            "another results folder with --store"
        )
    target = mlflow_store(uri) if uri else _usual(store, name)
    config = validate(StudyConfig, read_yaml(folder.config), str(folder.config))
    records = []
    for path in _folders(folder.path / "trials"):
        if record := TrialRecord.load(path):
            records.append(record)
        else:
            say(f"note: {path} has no readable trial.json and is left out")
    if not records:
        raise StudyError(f"no trial of '{name}' has begun, so there is nothing to deliver")
    places = lock_folders(folder)
    with required("deliver to", target, "; the same command goes on where it stopped"):
        tracker = Tracker(target, name)
        parent = tracker.parent_run(folder.config, _facts(records))
        delivered = catch_up(
            tracker,
            parent,
            folder,
            config.objective,
            {record.number: record.state for record in records},
            lambda number: any(trial_is_held(place, number) for place in places),
            on_progress=on_progress,
        )
        full = _deliver_full_runs(tracker, parent, folder, config)
        _deliver_study(tracker, parent, folder, config, records)
    say(
        f"'{name}' in {target.mlflow_place}: {delivered} of {len(records)} trials delivered, "
        f"{len(records) - delivered} were there" + (f"; {full} full runs" if full else "")
    )
    if target.tracking:
        say(f"compare the trials: {trials_link(tracker.experiment_id, target.tracking)}")


def _usual(store: Store, name: str) -> Store:
    """Where the study's launches log, if the study's database can still tell."""
    if store.tracking or not (store.storage or store.optuna_database.is_file()):
        return store
    try:
        return with_tracking(store, load_optuna_study(store, name))
    except UnknownStudyError:
        return store


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.glob("trial-*") if path.is_dir())


def _facts(records: list[TrialRecord]) -> dict[str, str]:
    return {key: str(value) for key, value in records[0].identity.items()}


def _deliver_full_runs(
    tracker: Tracker, parent: str, folder: StudyFolder, config: StudyConfig
) -> int:
    folders = _folders(folder.path / "full_runs")
    for path in folders:
        number = int(path.name.removeprefix("trial-"))
        trial = TrialRecord.load(folder.trial(number))
        mirror = tracker.mirror(
            "full",
            number,
            parent,
            path,
            params=trial.params if trial else {},
            tags={"origin": (trial.baseline if trial else None) or "sampler"},
            score=lambda record: score_of(record, config.objective),
        )
        mirror.deliver()
        mirror.deliver_files()
        mirror.set_state("COMPLETE" if RunFolder(path).result.exists() else "WAITING")
    return len(folders)


def _deliver_study(
    tracker: Tracker,
    parent: str,
    folder: StudyFolder,
    config: StudyConfig,
    records: list[TrialRecord],
) -> None:
    if not folder.leaderboard.exists():  # this machine has only joined the study
        return
    files = [folder.config, folder.leaderboard, folder.contact_sheet, folder.best]
    lines = folder.leaderboard.read_text(encoding="utf-8").splitlines()
    note = "\n".join(lines[: NOTE_ROWS + 4])  # title, blank line, headings and their rule
    tracker.publish_study(parent, note, files)
    finished = sum(record.state in FINISHED_NAMES for record in records)
    if finished >= config.study.trials:
        tracker.set_status(parent, "COMPLETE")
    elif not running(folder) and tracker.run_status(parent) == "RUNNING":
        tracker.set_status(parent, "WAITING")


def mlflow_store(uri: str) -> Store:
    """A store whose MLflow is that of a URI: a server, or a results folder's `sqlite:///…` file.

    Raises:
        UsageError: it is neither.
    """
    store = Store(Path(uri.removeprefix("sqlite:///")).expanduser().resolve().parent)
    if uri.startswith("sqlite:///") and uri.endswith(f"/{store.mlflow_database.name}"):
        store.create()
        return store
    return Store(Path.cwd(), tracking=check_tracking_uri(uri))
