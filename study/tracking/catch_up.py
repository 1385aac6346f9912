"""Delivers the trials that MLflow does not show, or shows in another state, from their folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial

from study.errors import LeaseLostError
from study.storage.optuna_db import FINISHED
from study.storage.store import StudyFolder
from study.storage.trial_record import TrialRecord
from study.tracking.experiment import ShownTrial, Tracker, shown_trials
from study.tracking.run_mirror import STATUS, TERMINAL_STATUSES

FINISHED_NAMES = {state.name for state in FINISHED}


def outdated(
    folder: StudyFolder, states: Mapping[int, str], shown: Mapping[int, ShownTrial]
) -> Iterator[TrialRecord]:
    """The trials that MLflow does not show, or shows as they were before.

    A run that a person deleted in the UI stays deleted. A trial without a record has not begun.
    `states` maps trial numbers to Optuna's states, and `shown` to what MLflow shows of them.
    """
    for number, state in states.items():
        there = shown.get(number)
        if there is not None and there.status == "DELETED":
            continue
        record = TrialRecord.load(folder.trial(number))
        if record is not None and (there is None or _is_behind(there, state, record)):
            yield record


def _is_behind(there: ShownTrial, state: str, record: TrialRecord) -> bool:
    """Whether a trial has changed since MLflow heard of it.

    A trial that went on from a rung may have ended in the same state as before.
    """
    later = int(1000 * (record.ended or 0.0)) > there.ended_ms
    return there.status != STATUS[state] or (state in FINISHED_NAMES and later)


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
    shown, delivered = shown_trials(tracker.client, tracker.experiment_id), 0
    records = list(outdated(tracker.folder, states, shown))
    for done, record in enumerate(records, start=1):
        state, there = states[record.number], shown.get(record.number)
        status = there.status if there else None
        if _is_due(record, state, status, unfinished) and not is_held(record.number):
            mirror = tracker.mirror_of(record, partial(_check_free, is_held, record.number))
            with suppress(LeaseLostError):
                if state in FINISHED_NAMES:
                    mirror.finish(record)
                else:
                    if status is None:
                        mirror.deliver()
                    mirror.set_state(state)
                delivered += 1
        on_progress(done, len(records))
    return delivered


def _check_free(is_held: Callable[[int], bool], number: int) -> None:
    """Raise `LeaseLostError` if a process has the trial by now: it goes on from a rung."""
    if is_held(number):
        raise LeaseLostError(f"trial {number} goes on in another process")


def _is_due(record: TrialRecord, state: str, status: str | None, unfinished: bool) -> bool:
    if state in FINISHED_NAMES:
        return record.state == state  # otherwise another machine ended it and has its folder
    # If the run has ended, the trial ended after its state was read.
    return unfinished if status is None else status not in TERMINAL_STATUSES
