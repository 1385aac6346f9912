"""Studies with rungs: real trainings that stop, wait and go on from their checkpoints."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from ready import Process
from shared import ONE_STEP_AN_EPOCH, PATIENCE_SECONDS

from benchmarks.lib.servers import children
from dcgan.data.bank import PhotoBank
from dcgan.errors import ConfigError, TrainingDivergedError
from dcgan.runtime.pictures import read_picture
from dcgan.training.run.folder import RunFolder
from study.config.rung_ends import with_rungs
from study.config.study_config import StudyConfig
from study.errors import StudyMismatchError
from study.report.page import render
from study.results.contact_sheet import captions, draw_contact_sheet, pictures_of
from study.results.leaderboard import cells_of, rows_of
from study.running.observer import LossesLogged, TrainingStarted, TrialBegan
from study.running.prepare import prepare
from study.running.study import execute, run_study
from study.search.rungs import Rungs, going_on, standings
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store, StudyFolder
from study.storage.trial_result import PAUSED, WENT_ON
from study.tracking.experiment import COLOUR

Maker = Callable[..., StudyConfig]
EPOCHS = (1, 2, 4)
RUNGS: dict[str, Any] = {
    "study__trials": 5,
    "budget__images": [32, 64, 128],  # of 32 photos
    "budget__keep": "1/3",
    "pruner__name": "none",
    "collapse__patience_epochs": 0,
    "baselines": [],  # which never wait
    "base__optim__decay_fraction": 0.9,  # of all four epochs, so it begins on the first rung
}


@pytest.fixture(scope="module")
def config(tiny_study: Maker) -> StudyConfig:
    return tiny_study(**RUNGS)


@pytest.fixture(scope="module")
def raced(config: StudyConfig, bank: PhotoBank, new_store: Callable[[], Store], watch: Any) -> Any:
    """Five trials on three rungs that nothing disturbed. Only to be read."""
    observer = watch()
    store = new_store()
    return run_study(config, store, bank=bank, observer=observer), observer


def check_over(store: Store, mirror: Any, total: int) -> None:
    """Every trial has ended, none may go on, and MLflow shows each record once."""
    study = load_optuna_study(store, "tiny")
    trials = study.get_trials()
    assert [trial.number for trial in trials] == list(range(total))
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    rungs = Rungs(EPOCHS, 1 / 3, total)
    assert going_on(standings(trials, rungs), rungs, new=False) == []
    for trial, run in zip(trials, mirror(store).runs("trial"), strict=True):
        points = mirror(store).points(run)
        assert len(points) == len(set(points))
        assert run.data.tags["optuna.state"] == trial.state.name
        reached = max(trial.intermediate_values)
        assert reached == (
            EPOCHS[-1]
            if trial.value and not trial.user_attrs.get(PAUSED)
            else EPOCHS[trial.user_attrs[PAUSED] - 1]
        )
        assert run.data.metrics["rung"] == EPOCHS.index(reached) + 1
        steps = [point.step for point in mirror(store).history(run, "train/loss_g")]
        assert steps == list(range(1, 2 * reached + 1))


def test_all_reach_the_first_rung_and_the_best_go_on(raced: Any, mirror_of: Any) -> None:
    summary, _ = raced
    assert (summary.finished, summary.total, summary.interrupted) == (5, 5, False)
    check_over(summary.store, mirror_of, 5)
    trials = summary.study.get_trials()
    first = {trial.number: trial.intermediate_values[1] for trial in trials}
    best = sorted(first, key=lambda number: first[number])[:1]
    further = {trial.number for trial in trials if 2 in trial.intermediate_values}
    assert further >= set(best)
    whole = [trial.number for trial in trials if trial.state == TrialState.COMPLETE]
    assert whole == [0, 4]
    stopped = [trial for trial in trials if trial.state == TrialState.PRUNED]
    assert all(trial.user_attrs["reason"].startswith("waits on rung") for trial in stopped)
    assert not any(PAUSED in trials[number].user_attrs for number in whole)
    assert trials[0].user_attrs[WENT_ON] == 2
    assert trials[0].user_attrs["reason"] is None
    runs = mirror_of(summary.store).runs("trial")
    grey = {run.data.tags["optuna.trial_number"] for run in runs if COLOUR in run.data.tags}
    assert grey == {str(trial.number) for trial in stopped}


def test_a_trial_that_went_on_is_bit_for_bit_one_that_never_stopped(
    raced: Any, tiny_study: Maker, bank: PhotoBank, store: Store
) -> None:
    summary, observer = raced
    begun = [event.trial for event in observer.of(TrialBegan)]
    assert begun.count(0) == 3
    goals = [event.epochs for event in observer.of(TrainingStarted) if event.trial == 0]
    assert goals == list(EPOCHS)
    whole = tiny_study(**RUNGS | {"budget__images": [], "base__train__epochs": 4})
    straight = run_study(whole, store, bank=bank).study.get_trials()
    mine = summary.study.get_trials()[0]
    assert mine.params == straight[0].params
    assert mine.intermediate_values == straight[0].intermediate_values
    assert mine.values == straight[0].values


def test_baselines_never_wait(
    tiny_study: Maker, bank: PhotoBank, store: Store, watch: Any, mirror_of: Any
) -> None:
    settings = {"study__trials": 4, "baselines": tiny_study().model_dump()["baselines"]}
    observer = watch()
    done = run_study(tiny_study(**RUNGS | settings), store, bank=bank, observer=observer)
    check_over(store, mirror_of, 4)
    begun = [event.trial for event in observer.of(TrialBegan)]
    assert begun[:4] == [0, 1, 2, 3]
    assert not {0, 1} & set(begun[4:])
    for trial in done.study.get_trials()[:2]:
        assert trial.state == TrialState.COMPLETE
        assert list(trial.intermediate_values) == [1, 2, 3, 4]
    baselines = [row for row in rows_of(done.study) if row.number in (0, 1)]
    assert [row.as_dict()["rung"] for row in baselines] == [len(EPOCHS)] * 2
    assert [row.on_rung for row in baselines] == [len(EPOCHS)] * 2


def test_a_wide_table_says_how_far_each_trial_got(raced: Any) -> None:
    headings, body = cells_of(rows_of(raced[0].study))
    shown = [row[headings.index("rung")] for row in body]
    assert shown.count("3") == 2  # trials 0 and 4
    assert shown.count("1") == 3


def test_the_last_picture_in_mlflow_is_that_of_the_last_rung(raced: Any, mirror_of: Any) -> None:
    summary, _ = raced
    mirror = mirror_of(summary.store)
    run = mirror.runs("trial")[0]
    finals = sorted(
        name
        for name in mirror.artifacts(run, "images")
        if "final_samples" in name and name.endswith(".png")
    )
    assert len(finals) == 3  # MLflow's card shows the one with the latest time
    shown = Path(mirror.client.download_artifacts(run.info.run_id, finals[-1]))
    final = RunFolder(summary.store.study("tiny").trial(0)).final_grid
    ours, theirs = read_picture(final), read_picture(shown)
    assert ours is not None
    assert theirs is not None
    assert ours.tobytes() == theirs.tobytes()


def test_the_contact_sheet_shows_the_same_epoch_of_all_and_the_last(raced: Any) -> None:
    folder, rows = raced[0].store.study("tiny"), rows_of(raced[0].study)
    sheet = read_picture(folder.contact_sheet)
    assert sheet is not None
    above, side = 50, 266  # three lines of text, a corner of the samples
    for index, row in enumerate(rows):
        left, top = index % 2 * (2 * side + 8), index // 2 * (side + above + 8) + above
        boxes = [(left + shift, top, left + shift + side, top + side) for shift in (0, side)]
        halves = [sheet.crop(box) for box in boxes]
        steps = (2, 2 * (row.epoch or 0))  # two steps an epoch
        grids = [RunFolder(folder.trial(row.number)).grid_path(step) for step in steps]
        expected = [read_picture(grid) for grid in grids]
        for half, whole in zip(halves[: len(set(steps))], expected, strict=False):
            assert whole is not None
            corner = whole.crop((0, 0, whole.width // 2, whole.width // 2)).resize((side, side))
            assert half.tobytes() == corner.tobytes()
        if row.rung == 1:  # nothing later to show
            assert halves[1].getextrema() == ((255, 255),) * 3
        labels = [it.label for it in pictures_of(folder, row, 1)]
        assert labels == ["epoch 1", "" if row.rung == 1 else f"epoch {row.epoch}"]
    paused = next(row for row in rows if row.rung == 1)
    assert captions(paused)[1] == "waits on rung 1, epoch 1, sampler"


def test_a_trial_before_the_first_rung_is_on_the_left_of_the_sheet(
    raced: Any, tmp_path: Path
) -> None:
    folder, row = StudyFolder(tmp_path), rows_of(raced[0].study)[0]
    unscored = replace(row, epoch=None, step=None, state=TrialState.RUNNING, number=0)
    run = RunFolder(folder.trial(0))
    run.create()
    shutil.copy(RunFolder(raced[0].store.study("tiny").trial(0)).grid_path(0), run.grid_path(0))
    shown, later = pictures_of(folder, unscored, 1)
    assert shown.label == "step 0"
    assert shown.corner is not None
    assert later == ("", None)
    assert draw_contact_sheet([unscored], folder, 1)


def test_a_report_names_the_rungs(raced: Any) -> None:
    page = render(raced[0].study, raced[0].store)
    assert "All trials: up to 4 epochs, and a wait after 1 and 2, 32 × 32 pixels" in page
    assert "× waits on rung" in page


def test_the_studys_run_in_mlflow_is_up_to_date_after_each_trial(
    config: StudyConfig, bank: PhotoBank, store: Store, mirror_of: Any
) -> None:
    """A trial that goes on brings the count of finished trials back to what it was."""
    with prepare(config, store, bank) as plan:
        summary = execute(plan, throttle=lambda action: action())
    (run,) = mirror_of(store).runs("study")
    trials = summary.study.get_trials()
    complete = [trial.value for trial in trials if trial.state == TrialState.COMPLETE]
    assert run.data.metrics["best_score"] == min(complete)
    assert run.data.metrics["trials_pruned"] == len(trials) - len(complete)
    minutes = sum(trial.user_attrs["minutes"] for trial in trials)
    assert run.data.metrics["trial_minutes"] == pytest.approx(minutes)


def test_a_second_launch_changes_nothing(
    raced: Any, config: StudyConfig, bank: PhotoBank, essence: Any, watch: Any
) -> None:
    summary, _ = raced
    before, observer = essence(summary.study), watch()
    again = run_study(config, summary.store, bank=bank, observer=observer)
    assert essence(again.study) == before
    assert observer.of(TrialBegan) == []


def test_stopped_anywhere_it_ends_the_same(
    raced: Any,
    config: StudyConfig,
    bank: PhotoBank,
    store: Store,
    essence: Any,
    watch: Any,
    mirror_of: Any,
) -> None:
    summary, _ = raced
    for stop_after in ((0, 1), (0, 2), (2, 2), (0, 5), (4, 3), (4, 7)):
        run_study(config, store, bank=bank, observer=watch(stop_after=stop_after))
    done = run_study(config, store, bank=bank)
    assert essence(done.study) == essence(summary.study)
    check_over(store, mirror_of, 5)


def test_other_rungs_are_refused(raced: Any, tiny_study: Maker, bank: PhotoBank) -> None:
    summary, _ = raced
    for other in ({"budget__images": [32, 96, 128]}, {"budget__keep": 0.5}, {"budget__images": []}):
        with pytest.raises(StudyMismatchError, match=r"budget\.(images|keep) was"):
            run_study(tiny_study(**RUNGS | other), summary.store, bank=bank)


def test_more_trials_let_more_go_on(
    config: StudyConfig, tiny_study: Maker, bank: PhotoBank, store: Store, mirror_of: Any
) -> None:
    few = tiny_study(**RUNGS | {"study__trials": 3})
    run_study(few, store, bank=bank)
    check_over(store, mirror_of, 3)
    assert run_study(config, store, bank=bank).finished == 5
    check_over(store, mirror_of, 5)


def test_more_baselines_than_trials(tiny_study: Maker, bank: PhotoBank, store: Store) -> None:
    settings = {"study__trials": 1, "baselines": tiny_study().model_dump()["baselines"]}
    done = run_study(tiny_study(**RUNGS | settings), store, bank=bank)
    first, second = done.study.get_trials()
    assert (first.state, second.state) == (TrialState.COMPLETE, TrialState.WAITING)
    assert not done.interrupted


def test_a_kill_while_the_outcome_is_written_lets_no_stopped_trial_go_on(
    tiny_study: Maker, bank: PhotoBank, store: Store, watch: Any
) -> None:
    """The attribute of the rung was written, and then the trial turned out to have collapsed."""
    settings = {"study__trials": 1, "budget__images": [64, 128]}
    config = tiny_study(**RUNGS | settings)
    run_study(config, store, bank=bank, observer=watch(stop_after=(0, 1)))
    study = load_optuna_study(store, "tiny")
    study._storage.set_trial_user_attr(study.trials[0]._trial_id, PAUSED, 1)

    def fail(event: object) -> None:
        if isinstance(event, LossesLogged):
            raise TrainingDivergedError(2, 1)

    done = run_study(config, store, bank=bank, observer=watch(fail))
    (trial,) = done.study.get_trials()
    assert trial.state == TrialState.PRUNED
    assert trial.user_attrs[PAUSED] is None
    assert not done.interrupted


def test_fewer_trials_than_have_begun_end_none_that_may_go_on(
    config: StudyConfig, tiny_study: Maker, bank: PhotoBank, store: Store, watch: Any
) -> None:
    run_study(config, store, bank=bank, observer=watch(stop_after=(4, 1)))
    fewer = tiny_study(**RUNGS | {"study__trials": 3})
    done = run_study(fewer, store, bank=bank)
    assert not done.interrupted
    assert done.study.get_trials()[0].state == TrialState.COMPLETE


@pytest.mark.parametrize(("best", "damaged"), [(True, False), (True, True), (False, False)])
def test_a_lost_checkpoint_is_told_and_replaced(
    best: bool,
    damaged: bool,
    config: StudyConfig,
    bank: PhotoBank,
    store: Store,
    watch: Any,
    mirror_of: Any,
    raced: Any,
    essence: Any,
) -> None:
    """The checkpoint of trial 0 goes while it waits on its first rung."""
    stop = watch(stop_after=(1, 1))
    run_study(config, store, bank=bank, observer=stop)
    folder = RunFolder(store.study("tiny").trial(0))
    assert load_optuna_study(store, "tiny").trials[0].user_attrs[PAUSED] == 1
    folder.checkpoint.unlink()
    if not best:
        folder.best.unlink()
    if damaged:
        folder.checkpoint.write_bytes(b"half a file")
    observer = watch()
    done = run_study(config, store, bank=bank, observer=observer)
    where = "it continues from epoch 1, that of its best score"
    where = f": {where}" if best else "; the trial starts again from step 0"
    what = "damaged" if damaged else "gone"
    said = f"trial 0 goes on from rung 1, but its checkpoint is {what}{where}"
    assert said in observer.warnings
    assert essence(done.study) == essence(raced[0].study)
    check_over(store, mirror_of, 5)


def test_paused_trials_keep_their_checkpoints_while_they_may_go_on(
    config: StudyConfig, bank: PhotoBank, store: Store, watch: Any, tiny_study: Maker
) -> None:
    none = tiny_study(**RUNGS | {"checkpoints__keep": 0})
    seen: dict[int, bool] = {}

    def look(event: object) -> None:
        if isinstance(event, LossesLogged) and event.record.step > 1:
            path = RunFolder(store.study("tiny").trial(event.trial)).checkpoint
            seen[event.trial] = path.exists()

    observer = watch(look)
    with prepare(none, store, bank, observer=observer) as plan:  # published after each trial
        execute(plan, observer, throttle=lambda action: action())
    assert not [text for text in observer.warnings if "checkpoint is gone" in text]
    assert seen[0]
    assert seen[4]
    left = [RunFolder(path).checkpoint.exists() for path in store.study("tiny").trials().values()]
    assert not left[0]  # complete, and none are kept
    assert sum(left) < 4


@pytest.fixture
def two_workers(study_file: Callable[..., Path]) -> Path:
    """A study with rungs whose trials take some seconds."""
    return study_file(
        **RUNGS
        | {
            "study__trials": 6,
            "study__workers": 2,
            "budget__images": [640, 1280, 2560],
            "base__eval__every_epochs": 20,
            "base__train": ONE_STEP_AN_EPOCH,
        }
    )


@pytest.mark.slow
def test_two_workers_one_of_them_killed(
    two_workers: Path, store: Store, study_process: Callable[..., Process], mirror_of: Any
) -> None:
    process = study_process("run", two_workers, "--store", store.root)
    histories = store.study("tiny").path
    deadline = time.monotonic() + PATIENCE_SECONDS
    while sum(1 for _ in histories.glob("trials/*/history.jsonl")) < 3:  # some waits on a rung
        assert time.monotonic() < deadline, "it never happened"
        assert process.poll() is None, (two_workers.parent / "stderr.txt").read_text()
        time.sleep(0.05)
    worker = process.ready.program_of(children(process.program)[0])
    os.kill(worker, signal.SIGKILL)
    assert process.wait(PATIENCE_SECONDS) == 0, (two_workers.parent / "stderr.txt").read_text()
    trials = load_optuna_study(store, "tiny").get_trials()
    assert [trial.number for trial in trials] == list(range(6))
    rungs = Rungs((20, 40, 80), 1 / 3, 6)
    assert going_on(standings(trials, rungs), rungs, new=False) == []
    assert {max(trial.intermediate_values) for trial in trials} == {20, 40, 80} or (
        {max(trial.intermediate_values) for trial in trials} == {20, 80}
    )
    for trial, run in zip(trials, mirror_of(store).runs("trial"), strict=True):
        points = mirror_of(store).points(run)
        assert len(points) == len(set(points))
        steps = [point.step for point in mirror_of(store).history(run, "train/loss_g")]
        assert steps == list(range(1, max(trial.intermediate_values) + 1))


def test_another_number_of_photos_is_another_schedule(tiny_study: Maker) -> None:
    config = tiny_study(**RUNGS)
    assert with_rungs(config, 32).budget.epochs == EPOCHS
    assert with_rungs(config, 16).budget.epochs == (2, 4, 8)
    with pytest.raises(ConfigError, match="must ascend"):
        with_rungs(config, 64)
