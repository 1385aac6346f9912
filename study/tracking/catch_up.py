"""Delivers the trials that MLflow does not show, or shows in another state, from their folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from study.storage.optuna_db import FINISHED
from study.storage.store import StudyFolder
from study.storage.trial_record import TrialRecord
from study.tracking.experiment import Tracker, trial_statuses
from study.tracking.run_mirror import STATUS, TERMINAL_STATUSES

FINISHED_NAMES = {state.name for state in FINISHED}


def outdated(
    folder: StudyFolder, states: Mapping[int, str], shown: Mapping[int, str]
) -> Iterator[TrialRecord]:
    """The trials that MLflow does not show, or shows in another state than Optuna.

    A run that a person deleted in the UI stays deleted. A trial without a record has not begun.
    `states` maps trial numbers to Optuna's states, and `shown` to the statuses of their runs as
    MLflow names them, or `DELETED`.
    """
    for number, state in states.items():
        if shown.get(number) not in (STATUS[state], "DELETED"):
            record = TrialRecord.load(folder.trial(number))
            if record is not None:
                yield record


def catch_up(
    tracker: Tracker,
    states: Mapping[int, str],
    is_held: Callable[[int], bool],
    *,
    unfinished: bool = True,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Deliver the outdated trials of a study to MLflow.

    Args:
        states: trial number → Optuna's state.
        is_held: whether a process holds a trial; that process delivers the trial itself.
        unfinished: also deliver unfinished trials that MLflow does not show. A launch passes False,
            because it continues them: a trial whose process was killed repeats the steps after its
            checkpoint, and MLflow would show these twice.
        on_progress: called with (done, total) after each trial.

    Returns:
        How many trials were delivered.
    """
    shown, delivered = trial_statuses(tracker.client, tracker.experiment_id), 0
    records = list(outdated(tracker.folder, states, shown))
    for done, record in enumerate(records, start=1):
        state, status = states[record.number], shown.get(record.number)
        if _is_due(record, state, status, unfinished) and not is_held(record.number):
            mirror = tracker.mirror_of(record)
            if state in FINISHED_NAMES:
                mirror.finish(record)
            else:
                if status is None:
                    mirror.deliver()
                mirror.set_state(state)
            delivered += 1
        on_progress(done, len(records))
    return delivered


def _is_due(record: TrialRecord, state: str, status: str | None, unfinished: bool) -> bool:
    if state in FINISHED_NAMES:
        return record.state == state  # otherwise another machine ended it and has its folder
    # If the run has ended, the trial ended after its state was read.
    return unfinished if status is None else status not in TERMINAL_STATUSES
