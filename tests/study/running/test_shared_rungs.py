"""A study with rungs that two machines share through PostgreSQL."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.trial import TrialState
from shared import ONE_STEP_AN_EPOCH, PATIENCE_SECONDS, options, wait_for

from benchmarks.lib.servers import postgres_programs
from dcgan.data.bank import PhotoBank
from study.config.study_config import StudyConfig
from study.running import claims
from study.running.prepare import prepare
from study.running.study import run_study
from study.search.rungs import Rungs, going_on, standings
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store
from study.storage.trial_result import PAUSED

EPOCHS = (10, 20, 40)
RUNGS: dict[str, Any] = {
    "study__trials": 8,
    "budget__images": [320, 640, 1280],  # of 32 photos
    "budget__keep": "1/3",
    "pruner__name": "none",
    "collapse__patience_epochs": 0,
    "base__eval__every_epochs": 10,
    "base__train": ONE_STEP_AN_EPOCH,
}

pytestmark = pytest.mark.skipif(
    postgres_programs() is None, reason="PostgreSQL (initdb, pg_ctl) is not installed"
)


def check_over(store: Store, mirror: Any, total: int) -> None:
    """Every trial is there once, none may go on, and MLflow shows each step once."""
    trials = load_optuna_study(store, "tiny").get_trials()
    assert [trial.number for trial in trials] == list(range(total))
    assert {trial.state for trial in trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    rungs = Rungs(EPOCHS, 1 / 3, total)
    assert going_on(standings(trials, rungs), rungs, new=False) == []
    runs = mirror(store).runs("trial")
    assert [int(run.data.tags["optuna.trial_number"]) for run in runs] == list(range(total))
    for trial, run in zip(trials, runs, strict=True):
        assert run.data.tags["optuna.state"] == trial.state.name
        steps = [point.step for point in mirror(store).history(run, "train/loss_g")]
        assert steps == list(range(1, max(trial.intermediate_values) + 1))


@pytest.mark.slow
def test_two_machines_race(
    study_file: Callable[..., Path],
    study_process: Callable[..., subprocess.Popen[str]],
    machines: tuple[Store, Store],
    mirror_of: Any,
    tmp_path: Path,
) -> None:
    """Each lets its own trials go on, and the launcher waits for what only the other one can do."""
    first, second = machines
    launcher = study_process("run", study_file(**RUNGS), *options(first), output="a")
    histories = first.study("tiny").path
    wait_for(lambda: any(histories.glob("trials/*/history.jsonl")) or launcher.poll() is not None)
    joined = study_process("worker", "tiny", *options(second, tracking=False), output="b")
    assert [launcher.wait(PATIENCE_SECONDS), joined.wait(PATIENCE_SECONDS)] == [0, 0], (
        (tmp_path / "a.err").read_text(),
        (tmp_path / "b.err").read_text(),
    )
    check_over(first, mirror_of, 8)
    folders = [set(machine.study("tiny").trials()) for machine in machines]
    assert folders[0]
    assert not folders[0] & folders[1]
    assert folders[0] | folders[1] == set(range(8))
    said = "".join((tmp_path / name).read_text() for name in ("a.err", "b.err", "a.out", "b.out"))
    assert "checkpoint is gone" not in said
    assert "died" not in said


@pytest.mark.slow
def test_trials_of_a_machine_that_is_gone_start_again_elsewhere(
    tiny_study: Callable[..., StudyConfig],
    machines: tuple[Store, Store],
    bank: PhotoBank,
    watch: Any,
    mirror_of: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = machines
    config = tiny_study(**RUNGS | {"study__trials": 3, "baselines": []})
    run_study(config, first, bank=bank, observer=watch(stop_after=(2, 3)))
    waiting = [t for t in load_optuna_study(first, "tiny").trials if PAUSED in t.user_attrs]
    assert len(waiting) >= 2
    monkeypatch.setattr(claims, "OTHERS_SECONDS", 1.0)
    observer = watch()
    done = run_study(config, second, bank=bank, observer=observer)
    assert not done.interrupted
    check_over(second, mirror_of, 3)
    gone = [text for text in observer.warnings if "its checkpoint is gone; the trial" in text]
    assert len(gone) == 1, observer.warnings


def test_other_machines_are_given_a_minute_of_uninterrupted_looks(
    machines: tuple[Store, Store],
    tiny_study: Callable[..., StudyConfig],
    bank: PhotoBank,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What they did while this process was busy with a trial of its own is not known."""
    first, _ = machines
    config = tiny_study(**RUNGS | {"study__trials": 1})
    times = [1000, 1030, 1059, *range(5000, 5081, 8)]  # a trial of its own in between
    clock = SimpleNamespace(monotonic=iter(times).__next__)
    with prepare(config, first, bank) as plan:
        monkeypatch.setattr(claims, "time", clock)
        behind = [time for time in times if plan.context.claims._are_left_behind()]
        monkeypatch.undo()
    assert behind == [5064, 5072, 5080]


@pytest.mark.slow
def test_a_machine_that_comes_back_shows_no_step_twice(
    tiny_study: Callable[..., StudyConfig],
    machines: tuple[Store, Store],
    bank: PhotoBank,
    watch: Any,
    mirror_of: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its trial was taken over, stopped on a later rung, and may go on: both have a folder."""
    first, second = machines
    config = tiny_study(**RUNGS | {"study__trials": 2, "baselines": []})
    run_study(config, first, bank=bank, observer=watch(stop_after=(1, 3)))
    monkeypatch.setattr(claims, "OTHERS_SECONDS", 0.5)
    run_study(config, second, bank=bank, observer=watch(stop_after=(0, 25)))
    trials = load_optuna_study(first, "tiny").trials
    assert any(trial.user_attrs.get("went_on") for trial in trials)
    done = run_study(config, first, bank=bank)
    assert not done.interrupted
    check_over(first, mirror_of, 2)
