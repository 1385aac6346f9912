"""What MLflow lacks of a study's trials, and its delivery from their folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from study.config.study_config import ObjectiveConfig
from study.search.objective import closing_metrics, score_of
from study.storage.optuna_db import FINISHED
from study.storage.store import StudyFolder
from study.storage.trial_record import TrialRecord
from study.tracking.experiment import Tracker
from study.tracking.run_mirror import STATUS, TERMINAL_STATUSES, RunMirror, log10_metrics

FINISHED_NAMES = {state.name for state in FINISHED}


def lacking(
    folder: StudyFolder, states: Mapping[int, str], shown: Mapping[int, str]
) -> Iterator[TrialRecord]:
    """The trials that MLflow shows in another state than they are in, or not at all.

    A run that a person deleted in the UI stays deleted. A trial without a record has not begun.

    Args:
        states: trial number → Optuna's state.
        shown: trial number → status of its run as MLflow names it, or `DELETED`.
    """
    for number, state in states.items():
        if shown.get(number) not in (STATUS[state], "DELETED"):
            record = TrialRecord.load(folder.trial(number))
            if record is not None:
                yield record


def catch_up(
    tracker: Tracker,
    parent_run_id: str,
    folder: StudyFolder,
    objective: ObjectiveConfig,
    states: Mapping[int, str],
    is_held: Callable[[int], bool],
    *,
    unfinished: bool = True,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Deliver to MLflow what it lacks of a study's trials.

    Args:
        states: trial number → Optuna's state.
        is_held: whether a process has a trial; that process delivers the trial itself.
        unfinished: also deliver unfinished trials that MLflow does not show. A launch, which
            continues them, leaves this to the trials: one whose process was killed repeats the
            steps after its checkpoint, and MLflow would show these twice.
        on_progress: called with (done, total) after each trial.

    Returns:
        How many trials were delivered.
    """
    shown, delivered = tracker.trial_statuses(), 0
    records = list(lacking(folder, states, shown))
    for done, record in enumerate(records, start=1):
        state, status = states[record.number], shown.get(record.number)
        if _is_due(record, state, status, unfinished) and not is_held(record.number):
            mirror = mirror_into(tracker, parent_run_id, folder, objective, record)
            if state in FINISHED_NAMES:
                finish_mirror(mirror, record)
            else:
                if status is None:
                    mirror.deliver()
                mirror.set_state(state)
            delivered += 1
        on_progress(done, len(records))
    return delivered


def _is_due(record: TrialRecord, state: str, status: str | None, unfinished: bool) -> bool:
    if state in FINISHED_NAMES:
        return record.state == state  # else another machine has ended it, and its folder shows how
    # An ended run of an unfinished trial: the trial has ended since its state was read.
    return unfinished if status is None else status not in TERMINAL_STATUSES


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
    mirror.finish(record, closing | closing_metrics(record))
