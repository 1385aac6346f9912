"""What MLflow lacks of a study's trials, and its delivery from their folders."""

from __future__ import annotations

from typing import Any

from optuna.trial import TrialState
from rich.console import Console
from rich.progress import track

from study.config.study_config import ObjectiveConfig, StudyConfig
from study.search.objective import closing_metrics, score_of
from study.storage.locks import is_held
from study.storage.optuna_db import FINISHED
from study.storage.store import StudyFolder, trial_name
from study.storage.trial_record import TrialRecord
from study.tracking.experiment import Tracker
from study.tracking.run_mirror import TERMINAL_STATUSES, RunMirror, log10_metrics

FINISHED_NAMES = {state.name for state in FINISHED}


def deliver_trials(
    tracker: Tracker,
    parent: str,
    folder: StudyFolder,
    config: StudyConfig,
    records: list[TrialRecord],
) -> int:
    """All but those that are there as they ended (and those a person deleted in the UI)."""
    statuses, delivered = tracker.trial_statuses(), 0
    for record in track(records, "delivering", console=Console(stderr=True), transient=True):
        if statuses.get(record.number) in (*TERMINAL_STATUSES, "DELETED"):
            continue
        locks = folder.locks.rglob(f"{trial_name(record.number)}.lock")
        if any(is_held(lock) for lock in locks):  # whose process delivers it itself
            continue
        mirror = mirror_into(tracker, parent, folder, config.objective, record)
        if record.state in FINISHED_NAMES:
            finish_mirror(mirror, record)
        else:
            mirror.deliver()
            mirror.set_state(record.state)
        delivered += 1
    return delivered


def mirror_into(
    tracker: Tracker,
    parent_run_id: str,
    folder: StudyFolder,
    objective: ObjectiveConfig,
    record: TrialRecord,
) -> RunMirror:
    """The mirror of a trial's folder in any MLflow."""
    tags: dict[str, Any] = {"origin": record.origin, "optuna.state": record.state}
    if record.baseline:
        tags["baseline"] = record.baseline
    return tracker.mirror(
        "trial",
        record.number,
        parent_run_id,
        folder.trial(record.number),
        params=record.params,
        tags={**record.identity, "seed": record.seed, **tags},
        score=lambda item: score_of(item, objective),
        fresh=record.run_id is None,
    )


def finish_mirror(mirror: RunMirror, record: TrialRecord) -> None:
    """Deliver a trial's outcome to MLflow."""
    closing = {**log10_metrics(record.params), "minutes": record.minutes}
    if record.state == TrialState.COMPLETE.name:
        closing |= closing_metrics(record.score, record.values)
    mirror.finish(record, closing)
