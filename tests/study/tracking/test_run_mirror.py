"""A trial has one run in MLflow, even if two processes have made one."""

from __future__ import annotations

from typing import Any

import pytest

from study.errors import LeaseLostError
from study.storage.store import Store
from study.storage.trial_record import TrialRecord
from study.tracking.experiment import Tracker
from study.tracking.run_mirror import RunMirror


@pytest.fixture
def opened(own_finished: Store, finished: Any) -> tuple[Tracker, TrialRecord, RunMirror]:
    """The mirror of a finished trial, which has opened its run."""
    folder = own_finished.study("tiny")
    tracker = Tracker(own_finished, folder, finished.config, {})
    record = TrialRecord.load(folder.trial(0))
    assert record is not None
    mirror = tracker.mirror_of(record)
    assert mirror.open() == record.run_id
    return tracker, record, mirror


def of_another(tracker: Tracker) -> str:
    """The run of trial 0 that a process has made between two requests of the mirror."""
    tags = {"kind": "trial", "optuna.trial_number": "0", "started": "at another time"}
    return str(tracker.client.create_run(tracker.experiment_id, tags=tags).info.run_id)


def runs_of_trial(store: Store, mirror_of: Any) -> list[str]:
    runs = mirror_of(store).runs("trial")
    return [run.info.run_id for run in runs if run.data.tags["optuna.trial_number"] == "0"]


def test_whoever_ends_a_trial_keeps_its_run_alone(
    own_finished: Store, opened: tuple[Tracker, TrialRecord, RunMirror], mirror_of: Any
) -> None:
    tracker, record, mirror = opened
    others = len(mirror_of(own_finished).runs("trial")) - 1
    of_another(tracker)
    mirror.finish(record)
    assert runs_of_trial(own_finished, mirror_of) == [record.run_id]
    assert len(mirror_of(own_finished).runs("trial")) == others + 1


def test_who_has_lost_a_trial_leaves_the_owners_run(
    own_finished: Store, opened: tuple[Tracker, TrialRecord, RunMirror], mirror_of: Any
) -> None:
    tracker, record, mirror = opened
    mirror.withdraw()  # no other run: the trial's owner goes on in this one
    assert runs_of_trial(own_finished, mirror_of) == [record.run_id]
    other = of_another(tracker)
    mirror.withdraw()
    assert runs_of_trial(own_finished, mirror_of) == [other]


def test_who_has_lost_a_trial_deletes_and_creates_nothing(
    own_finished: Store, opened: tuple[Tracker, TrialRecord, RunMirror], mirror_of: Any
) -> None:
    tracker, record, _ = opened

    def lost() -> None:
        raise LeaseLostError("frozen")

    owners = record.run_id
    record.run_id = None  # a folder of its own, which MLflow has never shown
    with pytest.raises(LeaseLostError):
        tracker.mirror_of(record, lost).open()
    assert runs_of_trial(own_finished, mirror_of) == [owners]
    tracker.client.delete_run(owners)
    with pytest.raises(LeaseLostError):
        tracker.mirror_of(record, lost).open()
    assert runs_of_trial(own_finished, mirror_of) == []


def test_who_has_lost_a_trial_meanwhile_deletes_nothing_at_its_end(
    own_finished: Store, opened: tuple[Tracker, TrialRecord, RunMirror], mirror_of: Any
) -> None:
    tracker, record, _ = opened
    is_lost = False

    def check() -> None:
        if is_lost:
            raise LeaseLostError("frozen")

    mirror = tracker.mirror_of(record, check)
    mirror.open()
    owners = of_another(tracker)
    is_lost = True
    with pytest.raises(LeaseLostError):
        mirror.finish(record)
    assert owners in runs_of_trial(own_finished, mirror_of)
