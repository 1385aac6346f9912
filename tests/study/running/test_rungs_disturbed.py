"""Studies with rungs when something is missing: MLflow, a folder, another machine."""

from __future__ import annotations

import csv
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient, MlflowException
from optuna.trial import TrialState

from dcgan.config.settings import override
from dcgan.data.bank import PhotoBank
from dcgan.errors import TrainingDivergedError
from dcgan.training.run.folder import RunFolder
from study.cli.run import print_plan
from study.config.space import suggest
from study.config.study_config import StudyConfig
from study.running.continuing import make_continuable
from study.running.observer import TrainingStarted, TrialBegan
from study.running.prepare import prepare
from study.running.study import run_study
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store
from study.storage.trial_record import TrialRecord
from study.storage.trial_result import PAUSED, WENT_ON
from study.tracking.sync import sync_study

Maker = Callable[..., StudyConfig]
RUNGS: dict[str, Any] = {
    "study__trials": 4,
    "budget__images": [32, 64],  # of 32 photos
    "budget__keep": "1/2",
    "pruner__name": "none",
    "collapse__patience_epochs": 0,
    "baselines": [],
}


@pytest.fixture(scope="module")
def config(tiny_study: Maker) -> StudyConfig:
    return tiny_study(**RUNGS)


@pytest.fixture(scope="module")
def quiet(config: StudyConfig, bank: PhotoBank, new_store: Callable[[], Store]) -> Any:
    """The study that nothing disturbed. Only to be read."""
    return run_study(config, new_store(), bank=bank).study


def test_a_later_rung_that_mlflow_missed_is_delivered_by_the_next_launch(
    config: StudyConfig,
    bank: PhotoBank,
    store: Store,
    watch: Any,
    mirror_of: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The trial ends in the state in which MLflow last saw it."""
    run_study(config, store, bank=bank, observer=watch(stop_after=(1, 1)))
    study = load_optuna_study(store, "tiny")
    waiting = next(trial for trial in study.trials if PAUSED in trial.user_attrs)
    seen = mirror_of(store).runs("trial")[waiting.number].info

    def away(*_: Any, **__: Any) -> None:
        raise MlflowException("away")

    def begin(event: object) -> None:  # MLflow is away while it trains on its second rung
        if isinstance(event, TrialBegan) and event.trial == waiting.number:
            for method in ("log_batch", "update_run", "set_terminated", "search_runs"):
                monkeypatch.setattr(MlflowClient, method, away)
        if isinstance(event, TrainingStarted) and event.trial == waiting.number:
            raise TrainingDivergedError(2, 4)

    observer = watch(begin, stop_after=(3, 1))
    run_study(config, store, bank=bank, observer=observer)
    monkeypatch.undo()
    now = load_optuna_study(store, "tiny").trials[waiting.number]
    assert (now.state, now.user_attrs[WENT_ON]) == (TrialState.PRUNED, 1)
    missed = mirror_of(store).runs("trial")[waiting.number]
    assert (missed.info.status, missed.info.end_time) == (seen.status, seen.end_time)
    run_study(config, store, bank=bank)
    shown = mirror_of(store).runs("trial")[waiting.number]
    assert shown.data.tags["reason"].startswith("diverged at step")
    assert shown.info.end_time > seen.end_time


def test_a_lost_folder_takes_no_trial_out_of_the_race(
    quiet: Any, config: StudyConfig, bank: PhotoBank, store: Store, watch: Any, essence: Any
) -> None:
    run_study(config, store, bank=bank, observer=watch(stop_after=(1, 1)))
    number = next(
        t.number for t in load_optuna_study(store, "tiny").trials if PAUSED in t.user_attrs
    )
    shutil.rmtree(store.study("tiny").trial(number))
    observer = watch()
    done = run_study(config, store, bank=bank, observer=observer)
    said = f"trial {number} goes on from rung 1, but its checkpoint is gone; "
    assert f"{said}the trial starts again from step 0" in observer.warnings
    assert essence(done.study) == essence(quiet)


def test_a_trial_without_its_checkpoint_is_not_tried_for_ever(
    config: StudyConfig, bank: PhotoBank, store: Store, watch: Any
) -> None:
    """It goes on from a rung, has nothing to continue from, and fails before a checkpoint."""
    one = override(config, {"study.trials": 1})
    begun = 0

    def lose(event: object) -> None:
        nonlocal begun
        if not isinstance(event, TrainingStarted):
            return
        begun += 1
        assert begun < 20
        folder = RunFolder(store.study("tiny").trial(0))
        if begun > 1:
            for path in folder.checkpoints:
                path.unlink(missing_ok=True)
            raise RuntimeError("no luck")

    observer = watch(lose)
    done = run_study(one, store, bank=bank, observer=observer)
    (trial,) = done.study.get_trials()
    assert (trial.state, trial.user_attrs["reason"]) == (
        TrialState.FAIL,
        "RuntimeError: no luck",
    )
    assert begun == 4  # its first rung, and three tries of the second


def test_a_fresh_start_keeps_the_tries_but_not_another_trials(
    config: StudyConfig, bank: PhotoBank, store: Store, watch: Any
) -> None:
    with prepare(config, store, bank) as plan, plan.context.claims.next(4) as claim:
        assert claim is not None
        context, folder = plan.context, plan.context.folder.trial(claim.trial.number)
        train_config = suggest(claim.trial, config)
        mine = TrialRecord(claim.trial.number, claim.trial.params, "sampler", None, 0)
        mine.seed, mine.tries, mine.run_id = train_config.train.seed, 3, None
        for seed, kept in ((mine.seed, 3), (mine.seed + 1, None)):
            mine.seed = seed
            mine.save(folder)
            RunFolder(folder).checkpoint.write_bytes(b"damaged")
            make_continuable(context, claim.trial, folder, train_config)
            record = TrialRecord.load(folder)
            assert (record.tries if record else None) == kept
            assert not RunFolder(folder).checkpoint.exists()


def test_sync_calls_no_study_complete_whose_trials_may_go_on(
    config: StudyConfig, bank: PhotoBank, store: Store, watch: Any, mirror_of: Any
) -> None:
    run_study(config, store, bank=bank, observer=watch(stop_after=(3, 1)))
    states = [trial.state for trial in load_optuna_study(store, "tiny").trials]
    assert [state.is_finished() for state in states] == [True] * 4
    sync_study(store, "tiny")
    (run,) = mirror_of(store).runs("study")
    assert run.info.status == "SCHEDULED"
    # Where Optuna's database is lost, no trial can go on.
    elsewhere, copy = Store.at(store.root / "elsewhere"), Store.at(store.root / "copy")
    shutil.copytree(store.study("tiny").path, copy.study("tiny").path)
    copy.optuna_database.write_bytes(b"no database")
    sync_study(copy, "tiny", elsewhere.mlflow_uri)
    (there,) = mirror_of(elsewhere).runs("study")
    assert there.info.status == "FINISHED"
    run_study(config, store, bank=bank)
    sync_study(store, "tiny")
    (run,) = mirror_of(store).runs("study")
    assert run.info.status == "FINISHED"


def test_what_may_go_on_is_forecast(
    config: StudyConfig,
    bank: PhotoBank,
    store: Store,
    watch: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All trials have ended, but most of the compute is still to come."""
    run_study(config, store, bank=bank, observer=watch(stop_after=(3, 1)))
    with prepare(config, store, bank) as plan:
        print_plan(plan)
    assert "trials that go on: about 1 min, at most about " in capsys.readouterr().out
    run_study(config, store, bank=bank)
    with prepare(config, store, bank) as plan:
        assert plan.estimate() is None


def test_a_sampler_that_learns_from_complete_trials_alone_is_told(
    config: StudyConfig, tiny_study: Maker, bank: PhotoBank, store: Store, watch: Any
) -> None:
    said = "sampler.name: gp learns from complete trials alone, and with budget.images few are"
    for settings, expected in (({}, False), ({"sampler__name": "gp"}, True)):
        observer = watch()
        name = {"study__name": f"s{len(settings)}"}
        with prepare(tiny_study(**RUNGS | settings | name), store, bank, observer=observer):
            pass
        assert any(said in text for text in observer.warnings) == expected


@pytest.mark.slow
def test_the_shell_says_that_some_may_go_on(
    study_file: Callable[..., Path],
    shell: Callable[..., subprocess.CompletedProcess[str]],
    config: StudyConfig,
    bank: PhotoBank,
    store: Store,
    watch: Any,
) -> None:
    run_study(config, store, bank=bank, observer=watch(stop_after=(3, 1)))
    options = ("--store", store.root, "--timeout", "0.0001")
    file = study_file(**RUNGS)
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join(line for line in lines if line.strip() != "epochs: 2"))
    said = shell("run", file, *options).stdout
    assert "stopped at 4 trials, of which some may go on to another rung; the same" in said
    table = shell("show", "tiny", "--store", store.root, "--csv").stdout
    rows = list(csv.DictReader(table.splitlines()))
    assert [row["rung"] for row in rows] == ["2", "1", "1", "1"]
