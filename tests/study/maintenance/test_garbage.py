"""`study gc`: what goes, and above all what stays."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from filelock import FileLock
from optuna.trial import TrialState

from dcgan.training.run.folder import RunFolder
from study.maintenance.garbage import OLD_SECONDS, collect_garbage
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store, StudyFolder

Shell = Callable[..., subprocess.CompletedProcess[str]]
HEX = "0123456789abcdef0123456789abcdef"


def put(path: Path, size: int = 0, age: float = OLD_SECONDS + 60) -> Path:
    """A file that was last written so many seconds ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (time.time() - age,) * 2)
    return path


def files_of(store: Store) -> dict[Path, bytes]:
    databases = (store.optuna_database, store.mlflow_database)
    found = [path for path in store.root.rglob("*") if path.is_file() and path not in databases]
    return {path: path.read_bytes() for path in found}


@pytest.fixture
def folder(own_finished: Store) -> StudyFolder:
    return own_finished.study("tiny")


def leftovers(store: Store, folder: StudyFolder) -> list[Path]:
    """One file of each kind that may go, beside those of `removable`."""
    return [
        put(folder.trial(0) / f".checkpoint.pt.{HEX}.tmp", 3_000_000),
        put(folder.path / f".best.yaml.{HEX}.tmp"),
        put(folder.full_run(0) / f".checkpoint.pt.{HEX}.tmp"),
        put(folder.trial(99) / "history.jsonl", 1_000_000),
        put(store.root / "optuna.db.new"),
        put(store.root / "optuna.db.new-journal"),
        put(store.root / "mlflow.db.new"),
        put(store.root / f".writable.{HEX}"),
    ]


def removable(finished: Any, folder: StudyFolder, keep: int = 5) -> list[Path]:
    """The checkpoints and locks of trials that have ended and are not among the best."""
    complete = sorted(
        (trial for trial in finished.trials if trial.state == TrialState.COMPLETE),
        key=lambda trial: trial.value,
    )
    best = {trial.number for trial in complete[:keep]}
    numbers = [trial.number for trial in finished.trials]
    ended = [RunFolder(folder.trial(number)) for number in numbers if number not in best]
    gone = [path for run in ended for path in run.checkpoints]
    locks = [folder.locks / f"trial-{number:03d}.lock" for number in numbers]
    return [path for path in (*gone, *locks) if path.exists()]


def test_leftovers_go_and_nothing_else(
    finished: Any, own_finished: Store, folder: StudyFolder, shell: Shell
) -> None:
    # The fixture's own study ran with the rule: bring one checkpoint back as an older study's.
    ended = next(trial.number for trial in finished.trials if trial.state == TrialState.PRUNED)
    put(folder.trial(ended) / "checkpoint.pt", 2_000_000)
    (folder.trial(ended) / "best.pt").hardlink_to(folder.trial(ended) / "checkpoint.pt")
    (folder.trial(99)).mkdir(parents=True)
    gone = [*leftovers(own_finished, folder), *removable(finished, folder)]
    strangers = [
        put(folder.path / "notes.txt"),
        put(folder.path / ".best.yaml.tmp"),  # not a name that this program gives
        put(folder.path / "trials" / "trial-99-copy" / "checkpoint.pt"),
        put(folder.path / "locks" / "other.lock"),
        put(own_finished.root / "backup.db.new"),
        put(own_finished.root / "studies" / "unknown" / "trials" / "trial-000" / "checkpoint.pt"),
        put(folder.trial(0) / f".checkpoint.pt.{HEX[::-1]}.tmp", age=5),  # being written
    ]
    before = files_of(own_finished)
    said = shell("gc", "--dry-run", "--store", own_finished.root).stdout
    assert files_of(own_finished) == before
    assert said.count("would remove") == len(said.splitlines()) - 1
    assert "MB can be freed" in said
    said = shell("gc", "--store", own_finished.root).stdout
    after = files_of(own_finished)
    assert set(before) - set(after) == set(gone)
    assert set(strangers) <= set(after)
    assert {path: before[path] for path in after} == after
    assert not folder.trial(99).exists()
    size = sum(len(before[path]) for path in gone if path.name != "best.pt") / 1e6
    assert size > 5.9  # of temporary, unknown and expendable files
    assert f"{size:,.1f} MB freed" in said.splitlines()[-1]
    line = next(line for line in said.splitlines() if "checkpoint.pt and 1 more" in line)
    assert line.split()[:3] == ["removed", "2.0", "MB"]  # one file with two names
    line = next(line for line in said.splitlines() if "trial-099" in line)
    assert line.split()[:3] == ["removed", "1.0", "MB"]
    assert "Optuna does not know" in line
    assert "0.0 MB freed" in shell("gc", "--store", own_finished.root).stdout


def test_one_study_alone(own_finished: Store, folder: StudyFolder, shell: Shell) -> None:
    there = put(folder.path / f".best.yaml.{HEX}.tmp")
    elsewhere = put(own_finished.root / "mlflow.db.new")
    shell("gc", "tiny", "--store", own_finished.root)
    assert not there.exists()
    assert elsewhere.exists()


def test_a_running_trial_is_never_touched(own_finished: Store, folder: StudyFolder) -> None:
    """Running in the database, or locked: either is enough."""
    study = load_optuna_study(own_finished, "tiny")
    running = study.ask()
    files = [
        put(folder.trial(running.number) / "checkpoint.pt"),
        put(folder.trial(running.number) / f".checkpoint.pt.{HEX}.tmp"),
        put(folder.trial(50) / f".checkpoint.pt.{HEX}.tmp"),  # unknown, but somebody holds it
        put(folder.trial(50) / "checkpoint.pt"),
        put(folder.full_run(0) / f".checkpoint.pt.{HEX}.tmp"),
        put(folder.locks / "trial-000.lock"),  # ended, but not let go of yet
    ]
    held = [
        FileLock(folder.locks / "trial-050.lock"),
        FileLock(folder.locks / "trial-000.lock"),
        FileLock(folder.full_run(0) / ".lock"),
    ]
    for lock in held:
        lock.acquire()
    try:
        collect_garbage(own_finished, None, dry_run=False, say=print)
        assert [path for path in files if not path.exists()] == []
    finally:
        for lock in held:
            lock.release()
    study.tell(running.number, state=TrialState.FAIL)
    collect_garbage(own_finished, None, dry_run=False, say=print)
    assert [path for path in files if path.exists()] == []


def test_a_study_that_was_cut_off_at_its_very_beginning(store: Store) -> None:
    optuna.create_study(study_name="begun", storage=store.optuna_url)
    collect_garbage(store, "begun", dry_run=False, say=print)
    assert not store.study("begun").path.exists()


def test_a_database_that_is_being_made_stays(own_finished: Store) -> None:
    fresh = put(own_finished.root / "mlflow.db.new")
    with FileLock(own_finished.root / "mlflow.db.lock"):
        collect_garbage(own_finished, None, dry_run=False, say=print)
        assert fresh.exists()
    collect_garbage(own_finished, None, dry_run=False, say=print)
    assert not fresh.exists()
