"""`study revive`: a trial that was stopped early goes on to its end. Real trainings."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from dcgan.data.bank import PhotoBank
from dcgan.errors import UsageError
from dcgan.training.loop import train
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import read_evals
from study.config.space import trial_config
from study.config.study_config import StudyConfig
from study.errors import StudyError
from study.results.leaderboard import rows_of
from study.running.claims import Claims
from study.running.observer import TrainingStarted, TrialBegan
from study.running.revive import revive
from study.running.study import run_study
from study.search.objective import score_of
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store
from study.storage.trial_result import REASON

Maker = Callable[..., StudyConfig]
Shell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def stopped(tiny_study: Maker, store: Store, bank: PhotoBank) -> tuple[StudyConfig, int]:
    """A study whose config, and the first trial that the pruner has stopped after one epoch."""
    config = tiny_study(study__trials=6, checkpoints__keep_pruned=3)
    rows = rows_of(run_study(config, store, bank=bank).study)
    return config, min(r.number for r in rows if r.state == TrialState.PRUNED and r.epoch == 1)


def claims_of(store: Store, name: str = "tiny") -> Claims:
    return Claims(load_optuna_study(store, name), store.study(name))


def test_it_goes_on_from_its_checkpoint_as_if_it_had_never_stopped(
    stopped: tuple[StudyConfig, int],
    store: Store,
    bank: PhotoBank,
    tmp_path: Path,
    watch: Any,
    mirror_of: Any,
) -> None:
    config, number = stopped
    others = [row for row in rows_of(load_optuna_study(store, "tiny")) if row.number != number]
    assert RunFolder(store.study("tiny").trial(number)).checkpoint.exists()
    revive(claims_of(store), number, 6)
    watcher = watch()
    summary = run_study(config, store, bank=bank, observer=watcher)
    (began,) = watcher.of(TrainingStarted)
    assert (began.trial, began.done, began.total_steps) == (number, 2, 4)
    trial = summary.study.get_trials()[number]
    assert trial.state == TrialState.COMPLETE
    assert trial.user_attrs["revived"] is True
    assert trial.user_attrs[REASON] is None
    straight = trial_config(config, trial.params, number)
    result = train(straight, tmp_path / "straight", bank=bank, progress=False)
    assert trial.values == [score_of(result.selected, config.objective)]
    own = read_evals(RunFolder(store.study("tiny").trial(number)).history)
    assert [(it.epoch, it.metrics["fd_random"]) for it in own] == [
        (it.epoch, it.metrics["fd_random"])
        for it in read_evals(RunFolder(tmp_path / "straight").history)
    ]
    rows = rows_of(summary.study)
    assert [row for row in rows if row.number != number] == others
    assert summary.finished == 6
    runs = {run.info.run_id: run for run in mirror_of(store).runs("trial")}
    run = runs[trial.user_attrs["run_id"]]
    assert run.info.status == "FINISHED"
    assert [p.step for p in mirror_of(store).history(run, "train/loss_g")] == [1, 2, 3, 4]


def test_only_a_stopped_trial_can_be_revived(
    stopped: tuple[StudyConfig, int], store: Store
) -> None:
    number = stopped[1]
    with pytest.raises(UsageError, match="trial 0 of 'tiny' trained to its end; only one can be"):
        revive(claims_of(store), 0, 6)
    with pytest.raises(UsageError, match=rf"has no trial 99; stopped early were: .*{number}"):
        revive(claims_of(store), 99, 6)
    revive(claims_of(store), number, 6)
    with pytest.raises(UsageError, match="waits to go on already"):
        revive(claims_of(store), number, 6)
    assert load_optuna_study(store, "tiny").get_trials()[0].state == TrialState.COMPLETE


def test_a_running_launch_sees_a_trial_that_is_revived_meanwhile(
    stopped: tuple[StudyConfig, int], store: Store, bank: PhotoBank, watch: Any
) -> None:
    """Its own cache of the trials holds it as finished."""
    config, number = stopped
    longer = config.model_copy(update={"study": config.study.model_copy(update={"trials": 7})})
    done: list[int] = []

    def revive_once(event: Any) -> None:
        if isinstance(event, TrialBegan) and not done:
            done.append(event.trial)
            revive(claims_of(store), number, 7)

    watcher = watch(revive_once)
    summary = run_study(longer, store, bank=bank, observer=watcher)
    assert [event.trial for event in watcher.of(TrialBegan)] == [6, number]
    assert summary.finished == 7
    assert summary.study.get_trials()[number].state == TrialState.COMPLETE


def test_a_total_that_is_reached_without_it_is_refused(
    stopped: tuple[StudyConfig, int], store: Store
) -> None:
    with pytest.raises(UsageError, match="has 6 finished trials and a total of 5, so no launch"):
        revive(claims_of(store), stopped[1], 5)
    assert load_optuna_study(store, "tiny").get_trials()[stopped[1]].state == TrialState.PRUNED


def test_one_that_diverged_is_not_revived(tiny_study: Maker, store: Store, bank: PhotoBank) -> None:
    from disturb import at_step, make_infinite

    with at_step(3, make_infinite):
        run_study(tiny_study(study__trials=1), store, bank=bank)
    with pytest.raises(StudyError, match="would end in the same way again: diverged at step 3"):
        revive(claims_of(store), 0, 6)


def test_a_trial_that_waits_on_a_rung_goes_on_to_the_end(
    tiny_study: Maker, store: Store, bank: PhotoBank
) -> None:
    config = tiny_study(
        study__trials=4,
        budget__images=[32, 64, 128],
        pruner__name="none",
        collapse__patience_epochs=0,
        baselines=[],
    )
    study = run_study(config, store, bank=bank).study
    waiting = [row for row in rows_of(study) if row.rung == 1]
    revive(claims_of(store), waiting[-1].number, 4)
    again = run_study(config, store, bank=bank).study.get_trials()[waiting[-1].number]
    assert again.state == TrialState.COMPLETE
    assert sorted(again.intermediate_values) == [1, 2, 3, 4]


@pytest.mark.slow
def test_the_command(stopped: tuple[StudyConfig, int], store: Store, shell: Shell) -> None:
    number = stopped[1]
    told = shell("revive", "tiny", str(number), "--store", store.root).stdout
    assert f"trial-{number:03d} goes on from its checkpoint to epoch 2" in told
    assert load_optuna_study(store, "tiny").get_trials()[number].state == TrialState.COMPLETE
    refused = shell("revive", "tiny", str(number), "--store", store.root, code=2).stderr
    assert "trained to its end" in refused
