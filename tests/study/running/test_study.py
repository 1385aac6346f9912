"""A real study from start to end: what Optuna decides, what MLflow shows, and every interruption.

Studies are tiny but nothing in them is replaced: real training, SQLite, MLflow and processes.
"""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from dcgan.config.settings import load_train_config
from dcgan.data.bank import PhotoBank
from dcgan.evaluation.record import EvalRecord
from dcgan.runtime.devices import processors
from dcgan.training import precision
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import LogRecord, read_evals, read_history
from study.config.space import trial_config
from study.config.study_config import StudyConfig
from study.errors import StudyError, StudyMismatchError
from study.running.observer import Event, LossesLogged, Progressed, TrainingStarted, TrialBegan
from study.running.prepare import prepare
from study.running.study import execute, run_study
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store, trial_name
from study.storage.trial_record import TrialRecord
from study.tracking.run_mirror import STATUS, RunMirror

Maker = Callable[..., StudyConfig]
Essence = Callable[[Study], list[tuple[Any, ...]]]


def snapshot(study: Study, mirror: Any, store: Store) -> dict[str, Any]:
    """Everything that a launch with nothing to do must leave as it was."""
    folder = store.study("tiny")
    files = (folder.config, folder.best, folder.leaderboard, folder.contact_sheet)
    return {
        "trials": study.get_trials(),
        "attributes": study.user_attrs,
        "runs": {
            run.info.run_id: (run.info.status, run.data.params, run.data.tags, mirror.points(run))
            for run in mirror.all_runs()
        },
        "artifacts": {
            run.info.run_id: (mirror.artifacts(run), mirror.artifacts(run, "images"))
            for run in mirror.all_runs()
        },
        "files": [file.read_bytes() for file in files],
    }


# A finished study


def test_the_total_is_exact_and_every_trial_ended(finished: Any) -> None:
    states = {trial.state for trial in finished.trials}
    assert len(finished.trials) == finished.config.study.trials == finished.summary.finished
    assert states == {TrialState.COMPLETE, TrialState.PRUNED}
    assert not finished.summary.interrupted


def test_baselines_come_first_and_are_never_pruned(finished: Any) -> None:
    names = [trial.user_attrs.get("baseline") for trial in finished.trials]
    assert names == ["good", "slow", None, None, None, None]
    assert [trial.user_attrs.get("origin") for trial in finished.trials[:2]] == ["baseline"] * 2
    good, slow, *others = finished.trials
    assert good.state == slow.state == TrialState.COMPLETE
    # The pruner stops whatever is worse than the best so far, which "slow" was at each epoch.
    for epoch in (1, 2):
        assert slow.intermediate_values[epoch] > good.intermediate_values[epoch]
    assert any(trial.state == TrialState.PRUNED for trial in others)


def test_a_pruned_trial_says_why_and_stops_where_it_was_worse(finished: Any) -> None:
    pruned = [trial for trial in finished.trials if trial.state == TrialState.PRUNED]
    for trial in pruned:
        (epoch,) = trial.intermediate_values
        assert trial.value == trial.intermediate_values[epoch]
        assert f"up to epoch {epoch}, while" in trial.user_attrs["reason"]
        assert trial.user_attrs["reason"].startswith("hopeless")
        earlier = [other for other in finished.trials[: trial.number] if other.value is not None]
        complete = [other for other in earlier if other.state == TrialState.COMPLETE]
        assert trial.value > min(other.intermediate_values[epoch] for other in complete)


def test_baselines_have_the_parameters_of_the_file(finished: Any) -> None:
    for trial, baseline in zip(finished.trials, finished.config.baselines, strict=False):
        assert trial.params == finished.config.baseline_params(baseline)


def test_a_trial_was_trained_with_its_parameters_and_seed(finished: Any) -> None:
    for trial in finished.trials:
        folder = RunFolder(finished.store.study("tiny").trial(trial.number))
        trained = load_train_config(folder.config)
        assert trained == trial_config(finished.config, trial.params, trial.number)
        assert trial.user_attrs["seed"] == trained.train.seed
    assert len({trial.user_attrs["seed"] for trial in finished.trials}) == len(finished.trials)


def test_a_value_is_the_last_evaluation(finished: Any) -> None:
    for trial in finished.trials:
        folder = RunFolder(finished.store.study("tiny").trial(trial.number))
        evaluations = read_evals(folder.history)
        assert trial.intermediate_values == {
            record.epoch: record.metrics["fd_random"] for record in evaluations
        }
        assert trial.value == evaluations[-1].metrics["fd_random"]


# Its mirror


def test_mlflow_shows_what_optuna_knows(finished: Any, mirror_of: Any) -> None:
    mirror = mirror_of(finished.store)
    (parent,) = mirror.runs("study")
    runs = mirror.runs("trial")
    assert len(mirror.all_runs()) == len(finished.trials) + 1
    assert parent.info.run_name == "study tiny"
    assert parent.info.status == "FINISHED"
    assert finished.summary.experiment_id == mirror.experiment.experiment_id
    for trial, run in zip(finished.trials, runs, strict=True):
        tags = run.data.tags
        assert run.info.run_name.split(" · ")[0] == trial_name(trial.number)
        assert run.info.run_id == trial.user_attrs["run_id"]
        assert tags["mlflow.parentRunId"] == parent.info.run_id
        assert tags["optuna.trial_number"] == str(trial.number)
        assert tags["optuna.state"] == trial.state.name
        assert tags["origin"] == trial.user_attrs.get("origin", "sampler")
        assert tags.get("baseline") == trial.user_attrs.get("baseline")
        assert tags["reason"] == (trial.user_attrs["reason"] or "")
        assert run.info.status == STATUS[trial.state.name]
        assert run.info.end_time is not None
        assert run.data.params == {key: str(value) for key, value in trial.params.items()}
        complete = trial.state == TrialState.COMPLETE
        assert run.data.metrics.get("objective") == (trial.value if complete else None)
        facts = json.loads(mirror.read(run, "environment.json"))
        for key in ("data.fingerprint", "extractor.name", "environment.code_version"):
            assert facts[key] == parent.data.tags[key] != ""
    assert {run.info.status for run in runs} == {"FINISHED", "KILLED"}


def assert_mirrored_once(store: Store, mirror: Any, trials: list[FrozenTrial]) -> None:
    """Every record of a trial's folder is in MLflow once, with the folder's timestamp."""
    for trial, run in zip(trials, mirror.runs("trial"), strict=True):
        records = read_history(RunFolder(store.study("tiny").trial(trial.number)).history)
        logs = [item for item in records if isinstance(item, LogRecord)]
        scored = [item for item in records if isinstance(item, EvalRecord)]
        assert [item.step for item in scored] == [2 * epoch for epoch in trial.intermediate_values]
        points = mirror.points(run)
        assert len(set(points)) == len(points)
        for key, source, name in (
            ("train/loss_g", logs, "loss_g"),
            ("train/loss_d", logs, "loss_d"),
            ("train/d_real", logs, "d_real"),
            ("time/images_per_second", logs, "images_per_second"),
            ("system/cpu_percent", logs, "cpu_percent"),
            ("system/memory_peak_mib", logs, "memory_peak_mib"),
            ("eval/fd_random", scored, "fd_random"),
            ("eval/kd_random", scored, "kd_random"),
            ("eval/imbalance", scored, "imbalance"),
        ):
            shown = [
                (point.step, point.timestamp, point.value) for point in mirror.history(run, key)
            ]
            assert shown == [
                (item.step, int(item.timestamp * 1000), item.to_dict()[name]) for item in source
            ]
        shown = {point.step // 2: point.value for point in mirror.history(run, "eval/score")}
        assert shown == trial.intermediate_values


def test_every_record_is_shown_once(finished: Any, mirror_of: Any) -> None:
    assert_mirrored_once(finished.store, mirror_of(finished.store), finished.trials)


def test_learning_rates_are_also_shown_as_logarithms(finished: Any, mirror_of: Any) -> None:
    for trial, run in zip(finished.trials, mirror_of(finished.store).runs("trial"), strict=True):
        assert run.data.metrics["log10_lr_g"] == math.log10(trial.params["lr_g"])


def test_pictures_and_files_are_shown(finished: Any, mirror_of: Any) -> None:
    mirror = mirror_of(finished.store)
    for trial, run in zip(finished.trials, mirror.runs("trial"), strict=True):
        assert {"config.yaml", "losses.png", "samples_final.png"} <= mirror.artifacts(run)
        pictures = [name for name in mirror.artifacts(run, "images") if name.endswith(".png")]
        # mlflow names them after key and step, with "~" or "#" for the slash.
        shown = [re.search(r"samples.fixed_noise.step.(\d+)\D", name) for name in pictures]
        steps = sorted(int(found[1]) for found in shown if found)
        assert steps == [0, *(2 * epoch for epoch in trial.intermediate_values)], pictures
        assert len(pictures) == len(steps) + 1  # the closing one
    (parent,) = mirror.runs("study")
    expected = {"leaderboard.md", "contact_sheet.png", "study.yaml", "best.yaml"}
    assert mirror.artifacts(parent) == expected
    assert "| trial-000 | complete |" in parent.data.tags["mlflow.note.content"]


def test_artifacts_lie_in_the_store(finished: Any, mirror_of: Any) -> None:
    run = mirror_of(finished.store).runs("trial")[0]
    assert run.info.artifact_uri.startswith(finished.store.artifacts.as_uri())


# Launching again


def test_launching_a_finished_study_changes_nothing(
    finished: Any, mirror_of: Any, bank: PhotoBank, watch: Any
) -> None:
    study, store, mirror = (
        finished.summary.study,
        finished.store,
        mirror_of(finished.store),
    )
    before = snapshot(study, mirror, store)
    watcher = watch()
    again = run_study(finished.config, store, bank=bank, observer=watcher)
    assert not watcher.of(TrialBegan)
    assert (again.finished, again.total, again.interrupted) == (6, 6, False)
    assert again.best_config == finished.summary.best_config
    assert snapshot(again.study, mirror, store) == before


@pytest.mark.slow
def test_a_raised_total_continues_to_the_same_numbers(
    tiny_study: Maker,
    finished: Any,
    mirror_of: Any,
    bank: PhotoBank,
    store: Store,
    essence: Essence,
    watch: Any,
) -> None:
    """Also: two stores with the same config hold the same parameters and scores, bit for bit."""
    watcher = watch()
    for total in (1, 3):
        config = tiny_study(study__trials=total)
        summary = run_study(config, store, bank=bank, observer=watcher)
        assert summary.finished == summary.total == total
    assert [(told.finished, told.total) for told in watcher.of(Progressed)] == [
        (0, 1),
        (1, 1),
        (1, 3),
        (2, 3),
        (3, 3),
    ]
    assert essence(summary.study) == essence(finished.summary.study)[:3]
    assert finished.trials[2].state == TrialState.PRUNED
    assert_mirrored_once(store, mirror_of(store), summary.study.get_trials())
    # A lower total than what is finished is nothing to do either.
    lower = run_study(tiny_study(study__trials=2), store, bank=bank)
    assert (lower.finished, lower.interrupted) == (3, False)


def test_a_study_with_other_settings_is_refused_and_left_alone(
    tiny_study: Maker, finished: Any, mirror_of: Any, bank: PhotoBank
) -> None:
    store, mirror = finished.store, mirror_of(finished.store)
    before = snapshot(finished.summary.study, mirror, store)
    with pytest.raises(StudyMismatchError, match=r"train\.epochs was 2, now 3"):
        run_study(tiny_study(study__trials=9, base__train__epochs=3), store, bank=bank)
    other = replace(bank, fingerprint="0" * 64)
    with pytest.raises(StudyMismatchError, match=r"data\.fingerprint was"):
        run_study(tiny_study(study__trials=9), store, bank=other)
    assert snapshot(load_optuna_study(store, "tiny"), mirror, store) == before


def test_other_threads_only_warn(
    tiny_study: Maker, finished: Any, bank: PhotoBank, watch: Any
) -> None:
    watcher = watch()
    run_study(tiny_study(base__train__threads=2), finished.store, bank=bank, observer=watcher)
    run_study(finished.config, finished.store, bank=bank, observer=watcher)
    assert any("train.threads was 1, now 2" in text for text in watcher.warnings)


# Interruptions


@pytest.mark.slow
@pytest.mark.parametrize(
    "step", [2, 0], ids=["after its first score", "before its first step is done"]
)
def test_an_interrupted_trial_waits_and_continues_to_the_same_numbers(
    tiny_study: Maker,
    finished: Any,
    mirror_of: Any,
    bank: PhotoBank,
    store: Store,
    essence: Essence,
    watch: Any,
    step: int,
) -> None:
    config = tiny_study(study__trials=2)
    if step:
        watcher = watch(stop_after=(1, step))
    else:
        watcher = watch(stop=lambda: len(watcher.of(TrialBegan)) == 2)
    summary = run_study(config, store, bank=bank, observer=watcher)
    mirror = mirror_of(store)
    assert summary.interrupted
    assert (summary.finished, summary.total) == (1, 2)
    first, waiting = summary.study.get_trials()
    assert first.state == TrialState.COMPLETE
    assert waiting.state == TrialState.WAITING
    assert waiting.number == 1
    assert [run.info.status for run in mirror.runs("trial")] == ["FINISHED", "SCHEDULED"]
    assert mirror.runs("study")[0].info.status == "SCHEDULED"
    run_id = mirror.runs("trial")[1].info.run_id

    watcher = watch()
    summary = run_study(config, store, bank=bank, observer=watcher)
    # It asks to stop after the step that follows the log record (or the first of all).
    assert [event.done for event in watcher.of(TrainingStarted)] == [step + 1]
    assert not summary.interrupted
    assert essence(summary.study) == essence(finished.summary.study)[:2]
    assert [run.info.status for run in mirror.runs("trial")] == ["FINISHED"] * 2
    assert mirror.runs("trial")[1].info.run_id == run_id
    assert mirror.runs("study")[0].info.status == "FINISHED"
    assert_mirrored_once(store, mirror, summary.study.get_trials())


def test_a_timeout_pauses_and_the_next_launch_continues(
    tiny_study: Maker, bank: PhotoBank, store: Store, watch: Any
) -> None:
    """The clock is the test's own: each log record takes ten minutes."""
    clock = [0.0]

    def wait(event: Event) -> None:
        clock[0] += 600.0 * isinstance(event, LossesLogged)

    config = tiny_study(study__trials=1, study__timeout_minutes=15.0)
    with prepare(config, store, bank) as plan:
        summary = execute(plan, watch(wait), clock=lambda: clock[0])
    assert summary.interrupted
    trial, _ = summary.study.get_trials()
    assert trial.state == TrialState.WAITING
    assert "step 3" in trial.user_attrs["reason"]
    summary = run_study(config, store, bank=bank)
    trial, _ = summary.study.get_trials()
    assert trial.state == TrialState.COMPLETE
    assert trial.user_attrs["reason"] is None


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], what: str) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, f"the process ended before {what}"
        assert time.monotonic() < deadline, f"waited too long for {what}"
        time.sleep(0.01)


@pytest.mark.slow
def test_a_killed_process_leaves_nothing_behind(
    tiny_study: Maker,
    finished: Any,
    mirror_of: Any,
    bank: PhotoBank,
    store: Store,
    essence: Essence,
    study_file: Callable[..., Path],
    study_process: Callable[..., subprocess.Popen[str]],
    watch: Any,
) -> None:
    process = study_process("run", study_file(study__trials=2), "--store", store.root)
    folder = store.study("tiny").trial(1)

    def shown() -> bool:  # in MLflow, with the trial's first losses
        record = TrialRecord.load(folder)
        return record is not None and record.run_id is not None

    wait_for(shown, process, "the second trial")
    process.kill()
    assert process.wait() == -signal.SIGKILL
    cut_off = load_optuna_study(store, "tiny").get_trials()
    assert [trial.state for trial in cut_off] == [TrialState.COMPLETE, TrialState.RUNNING]
    mirror = mirror_of(store)
    assert [run.info.status for run in mirror.runs("trial")] == ["FINISHED", "RUNNING"]

    watcher = watch()
    summary = run_study(tiny_study(study__trials=2), store, bank=bank, observer=watcher)
    assert any("trial 1 was cut off" in text for text in watcher.warnings)
    assert summary.finished == 2
    assert essence(summary.study) == essence(finished.summary.study)[:2]
    assert {run.info.status for run in mirror.all_runs()} == {"FINISHED"}
    assert len(mirror.runs("trial")) == 2
    assert_mirrored_once(store, mirror, summary.study.get_trials())


@pytest.mark.slow
@pytest.mark.parametrize("where", ["while its run is closed", "before the leaderboard is written"])
def test_a_process_that_ended_after_its_last_score_is_caught_up(
    tiny_study: Maker,
    mirror_of: Any,
    bank: PhotoBank,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    watch: Any,
    where: str,
) -> None:
    """Optuna has the outcome; MLflow and the files follow at the next launch."""

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    def die_at_the_end(event: Event) -> None:
        if isinstance(event, Progressed) and (event.finished, event.total) == (2, 2):
            die()

    run_study(tiny_study(study__trials=1), store, bank=bank)
    with monkeypatch.context() as patch:
        watcher = watch(die_at_the_end)
        if where == "while its run is closed":
            patch.setattr(RunMirror, "finish", die)
        with pytest.raises(KeyboardInterrupt):
            run_study(tiny_study(study__trials=2), store, bank=bank, observer=watcher)
    summary = run_study(tiny_study(study__trials=2), store, bank=bank)
    assert summary.finished == 2
    mirror = mirror_of(store)
    board = store.study("tiny").leaderboard.read_text(encoding="utf-8")
    assert "| trial-001 | complete |" in board
    assert {run.info.status for run in mirror.all_runs()} == {"FINISHED"}
    for trial, run in zip(summary.study.get_trials(), mirror.runs("trial"), strict=True):
        assert run.data.tags["optuna.state"] == trial.state.name
        assert run.data.metrics["objective"] == trial.value


@pytest.mark.slow
def test_an_extractor_of_ones_own_and_a_relaunch_with_auto(
    tiny_study: Maker, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study_encoders.py").write_text(
        "def shades(images):\n    return images.float().mean(dim=(2, 3))\n"
    )
    own = {"base__eval__extractor": "study_encoders:shades"}
    first = run_study(tiny_study(study__trials=1, **own), store)
    assert "fd_shades" in first.study.trials[0].user_attrs
    # A config that says auto goes on with what the study began with.
    again = run_study(tiny_study(study__trials=2, base__eval__extractor="auto"), store)
    assert again.finished == 2
    assert "fd_shades" in again.study.trials[1].user_attrs


@pytest.mark.slow
def test_threads_are_measured_once_and_kept(
    tiny_study: Maker, store: Store, bank: PhotoBank, watch: Any
) -> None:
    watcher, left_open = watch(), {"base__train__threads": None}
    first = run_study(tiny_study(study__trials=1, **left_open), store, observer=watcher)
    chosen = json.loads(first.study.user_attrs["config"])["base"]["train"]["threads"]
    assert 1 <= chosen <= processors()
    said = [line for line in watcher.warnings if line.startswith("train.threads is")]
    assert len(said) == 1
    assert said[0].startswith(f"train.threads is {chosen} in this study")
    assert json.loads(first.study.user_attrs["identity"])["environment.threads"] == chosen
    trained = load_train_config(first.store.study("tiny").trial(0) / "config.yaml")
    assert trained.train.threads == chosen

    # A relaunch on a machine that is busy now does not measure again.
    def measure(*_: Any) -> Any:
        raise AssertionError("measured again")

    config = tiny_study(study__trials=2, **left_open)
    with prepare(config, store, bank, observer=watcher, measure=measure) as plan:
        assert (plan.config.base.train.threads, plan.decisions) == (chosen, ())
        assert execute(plan, watcher).finished == 2
    assert not [line for line in watcher.warnings if line.startswith("differs")]


def test_the_precision_is_chosen_once_and_kept(
    tiny_study: Maker, store: Store, bank: PhotoBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pretend(name: str) -> None:
        choice = precision.Choice(name, "made up", {"fp32": 50.0, "bf16": 80.0})
        monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: True)
        monkeypatch.setattr(precision, "fastest_precision", lambda config: choice)

    pretend("bf16")
    auto = tiny_study(study__trials=1, base__train__precision="auto")
    with prepare(auto, store, bank) as plan:
        assert plan.decisions == ("train.precision is bf16, made up",)
        execute(plan)
    study = plan.context.study
    assert json.loads(study.user_attrs["identity"])["train.precision"] == "bf16"
    trained = load_train_config(store.study("tiny").trial(0) / "config.yaml")
    assert trained.train.precision == "bf16"

    # On a processor that would choose otherwise now, `auto` means what the study began with.
    pretend("fp32")
    with prepare(auto, store, bank) as plan:
        assert plan.config.base.train.precision == "bf16"
        assert plan.decisions == ()
    asked = tiny_study(study__trials=2, base__train__precision="fp32")
    message = r'train\.precision was "bf16", now "fp32"'
    with pytest.raises(StudyMismatchError, match=message), prepare(asked, store, bank):
        pass


def test_a_precision_that_the_device_lacks_is_told(
    tiny_study: Maker, store: Store, bank: PhotoBank
) -> None:
    asked = tiny_study(base__train__precision="tf32", base__train__device="cpu")
    told = "train.precision is tf32, which this cpu device lacks: it computes fp32"
    for _ in range(2):  # at each launch
        with prepare(asked, store, bank) as plan:
            assert plan.decisions == (told,)


@pytest.mark.slow
def test_a_lost_database_does_not_cost_the_finished_trials(
    tiny_study: Maker, own_finished: Store, bank: PhotoBank
) -> None:
    result = own_finished.study("tiny").trial(0) / "result.json"
    before = result.read_bytes()
    own_finished.optuna_database.unlink()
    with pytest.raises(StudyError, match=r"knows no trial of 'tiny'.*holds 6 finished trials"):
        run_study(tiny_study(study__trials=6), own_finished, bank=bank)
    assert result.read_bytes() == before


def test_a_trial_that_was_just_put_back_is_waited_for(
    tiny_study: Maker, store: Store, bank: PhotoBank
) -> None:
    """Its last process still holds the lock for a moment, as while MLflow is slow."""
    with prepare(tiny_study(study__trials=1), store, bank) as plan:
        claims = plan.context.claims
        lock = FileLock(claims.locks / "trial-000.lock", thread_local=False)
        claims.locks.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        threading.Timer(0.5, lock.release).start()
        with claims.next(1) as claim:
            assert claim is not None
            assert claim.trial.number == 0
