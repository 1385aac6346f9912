"""`study extend`: the best trials of a study, trained further."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.trial import TrialState

from dcgan.config.settings import override, save_config
from dcgan.data.bank import PhotoBank
from dcgan.errors import UsageError
from dcgan.evaluation.record import EvalRecord
from dcgan.training.loop import train
from dcgan.training.run.checkpoint import load_checkpoint
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import LogRecord, read_evals, read_history
from study.config.space import trial_config
from study.config.study_config import StudyConfig
from study.errors import StudyError, StudyMismatchError, UnknownStudyError
from study.maintenance.garbage import collect_garbage
from study.report.verdict import verdict
from study.results.export import export_config
from study.results.leaderboard import rows_of
from study.running import continuing
from study.running.estimate import estimate
from study.running.extend import check_extension, extend
from study.running.observer import TrainingStarted
from study.running.prepare import prepare
from study.running.study import run_study
from study.running.typical_speed import Pace
from study.storage.attributes import study_config
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store
from study.storage.trial_record import TrialRecord
from study.storage.trial_result import TrialResult
from study.tracking.words import GOLD

Maker = Callable[..., StudyConfig]
Shell = Callable[..., subprocess.CompletedProcess[str]]
EPOCHS = 4
"""The trials of `finished` have two."""


def complete(finished: Any) -> list[TrialResult]:
    rows = rows_of(finished.summary.study)
    return [row for row in rows if row.state == TrialState.COMPLETE]


def losses(folder: Path) -> list[tuple[int, float, float]]:
    found = (it for it in read_history(RunFolder(folder).history) if isinstance(it, LogRecord))
    return [(it.step, it.loss_g, it.loss_d) for it in found]


def scores(folder: Path) -> list[EvalRecord]:
    return read_evals(RunFolder(folder).history)


def test_extended_trials_are_bit_for_bit_those_that_never_stopped(
    own_finished: Store, finished: Any, bank: PhotoBank, watch: Any, mirror_of: Any, tmp_path: Path
) -> None:
    best = complete(finished)[:2]
    extension = extend(own_finished, "tiny", 2, EPOCHS, None)
    assert check_extension(extension, own_finished, bank) == []
    observer = watch()
    done = run_study(extension.config, own_finished, bank=bank, observer=observer)
    assert (done.name, done.finished, done.total) == ("tiny-4-epochs", 2, 2)
    assert [event.done for event in observer.of(TrainingStarted)] == [4, 4]  # of 8 steps
    for row, trial in zip(best, done.study.get_trials(), strict=True):
        assert trial.params == row.params
        where = f"trial-{row.number:03d} of tiny"
        assert trial.user_attrs["baseline"].endswith(where)
        config = trial_config(finished.config, row.params, row.number)
        config = override(config, {"train.epochs": EPOCHS}, "test")
        straight = tmp_path / f"{row.number}"
        train(config, straight, bank=bank, progress=False)
        mine = own_finished.study(done.name).trial(trial.number)
        assert losses(mine) == losses(straight)
        for one, other in zip(scores(mine), scores(straight), strict=True):
            # The score at the end of the earlier trial was in full.
            assert one.metrics | other.metrics == one.metrics
        weights = [load_checkpoint(RunFolder(it).checkpoint).state for it in (mine, straight)]
        for one, other in zip(*(state["generator"].values() for state in weights), strict=True):
            assert torch.equal(one, other)
    # The earlier study is as it was, and MLflow shows the new one from its first step on.
    assert rows_of(load_optuna_study(own_finished, "tiny")) == rows_of(finished.summary.study)
    mirror = mirror_of(own_finished, done.name)
    for run in mirror.runs("trial"):
        steps = [point.step for point in mirror.history(run, "train/loss_g")]
        assert steps == list(range(1, 9))
    exported = export_config(done.study)
    assert exported.train.seed in {row.seed for row in best}
    assert exported.train.epochs == EPOCHS
    assert extend(own_finished, "tiny", 1, 6, "six").config.full_run == {}  # it had four epochs


def test_what_was_a_baseline_stays_one_and_nothing_else_becomes_one(
    own_finished: Store, finished: Any, bank: PhotoBank, mirror_of: Any
) -> None:
    """In tables, colours and verdicts."""
    earlier = complete(finished)
    assert {row.is_baseline for row in earlier} == {True, False}
    extension = extend(own_finished, "tiny", len(earlier), EPOCHS, "all")
    done = run_study(extension.config, own_finished, bank=bank)
    of = dict(zip([row.number for row in earlier], earlier, strict=True))
    names = dict[str, bool]()
    for row in rows_of(done.study):
        assert row.baseline
        source = of[int(row.baseline.split("trial-")[1][:3])]
        assert row.is_baseline == source.is_baseline
        before = f"{source.baseline} of " if source.is_baseline else ""
        assert row.origin == f"{before}trial-{source.number:03d} of tiny"
        names[row.origin] = source.is_baseline
    for run in mirror_of(own_finished, "all").runs("trial"):
        known = names[run.data.tags["baseline"]]
        assert (run.data.tags.get("mlflow.runColor") == GOLD) == known
        said = "is the baseline" if known else "continues trial-"
        assert said in run.data.tags["mlflow.note.content"]
    rows = [row for row in rows_of(done.study) if row.state == TrialState.COMPLETE]
    facts: dict[str, Any] = {"pareto": False, "edges": []}
    (first, *_) = [row for row in rows if row.is_baseline]
    assert f"“{first.baseline}”" in verdict(rows, facts)[1]
    assert len(verdict([row for row in rows if not row.is_baseline], facts)) == 1
    # A trial that was extended and is extended again stays what it was.
    twice = extend(own_finished, "all", len(earlier), 2 * EPOCHS, "twice").config
    assert {bool(it.continues and it.continues.baseline) for it in twice.baselines} == {True, False}


def test_more_trials_come_after_those_that_began(
    own_finished: Store, finished: Any, bank: PhotoBank, watch: Any
) -> None:
    assert len(complete(finished)) >= 3
    first = extend(own_finished, "tiny", 1, EPOCHS, "longer")
    run_study(first.config, own_finished, bank=bank)
    again = extend(own_finished, "tiny", 1, EPOCHS, "longer")
    assert again.config.baselines == first.config.baselines
    assert again.added == []
    more = extend(own_finished, "tiny", 3, EPOCHS, "longer")
    assert more.config.baselines[:1] == first.config.baselines
    observer = watch()
    done = run_study(more.config, own_finished, bank=bank, observer=observer)
    assert [event.trial for event in observer.of(TrainingStarted)] == [1, 2]
    best = [row.params for row in complete(finished)[:3]]
    assert [trial.params for trial in done.study.get_trials()] == best


def test_one_config_with_two_seeds_is_two_trials(
    tiny_study: Maker, store: Store, bank: PhotoBank, watch: Any
) -> None:
    """A space of two configs, of which four trials are trained."""
    space = {"model.nz": {"type": "categorical", "choices": [4, 8]}}
    small = tiny_study(space=space, baselines=[], study__trials=4, pruner__name="none")
    params = [trial.params for trial in run_study(small, store, bank=bank).study.get_trials()]
    extension = extend(store, "tiny", 4, EPOCHS, None)
    observer = watch()
    done = run_study(extension.config, store, bank=bank, observer=observer)
    trials = done.study.get_trials()
    assert [event.done for event in observer.of(TrainingStarted)] == [4] * 4
    continued = [trial.user_attrs["continues"]["trial"] for trial in trials]
    assert sorted(continued) == [0, 1, 2, 3]
    assert [trial.params for trial in trials] == [params[number] for number in continued]
    assert len({trial.user_attrs["seed"] for trial in trials}) == 4
    again = extend(store, "tiny", 4, EPOCHS, None)
    assert run_study(again.config, store, bank=bank).finished == 4


def test_a_trial_without_its_checkpoint_starts_again(
    own_finished: Store, finished: Any, bank: PhotoBank, watch: Any
) -> None:
    first, second = (row.number for row in complete(finished)[:2])
    for path in RunFolder(own_finished.study("tiny").trial(first)).checkpoints:
        path.unlink(missing_ok=True)
    damaged = RunFolder(own_finished.study("tiny").trial(second))
    damaged.best.write_bytes(damaged.checkpoint.read_bytes())
    damaged.checkpoint.write_bytes(b"damaged")
    extension = extend(own_finished, "tiny", 2, EPOCHS, None)
    assert check_extension(extension, own_finished, bank) == [
        f"trial-{first:03d} of 'tiny' has no checkpoint on this machine (checkpoints.keep), so it "
        "starts again from step 0"
    ]
    observer = watch()
    done = run_study(extension.config, own_finished, bank=bank, observer=observer)
    assert [event.done for event in observer.of(TrainingStarted)] == [0, 4]
    said = f"trial 0 continues trial-{first:03d} of 'tiny', which has no checkpoint on this"
    assert any(said in text for text in observer.warnings)
    assert done.finished == 2


def test_a_copy_that_was_cut_off_is_made_again(
    own_finished: Store, bank: PhotoBank, watch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    extension = extend(own_finished, "tiny", 1, EPOCHS, None)
    trials = own_finished.study("tiny-4-epochs").path / "trials"
    for number in (0, 1):
        (trials / f".trial-{number:03d}.tmp").mkdir(parents=True)
        (trials / f".trial-{number:03d}.tmp" / "history.jsonl").write_text("{")
    observer = watch()
    run_study(extension.config, own_finished, bank=bank, observer=observer)
    assert [event.done for event in observer.of(TrainingStarted)] == [4]
    assert [path.name for path in sorted(trials.iterdir())] == [".trial-001.tmp", "trial-000"]
    collect_garbage(own_finished, "tiny-4-epochs", dry_run=False, say=print)
    assert "the copying of this trial was cut off" in capsys.readouterr().out
    assert [path.name for path in trials.iterdir()] == ["trial-000"]


def test_a_copy_that_fails_is_tried_again_by_the_next_launch(
    own_finished: Store, bank: PhotoBank, watch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    extension = extend(own_finished, "tiny", 1, EPOCHS, None)
    monkeypatch.setattr(continuing.shutil, "copytree", full)
    failed = run_study(extension.config, own_finished, bank=bank).study.get_trials()
    assert [trial.state for trial in failed] == [TrialState.FAIL]
    assert failed[0].user_attrs["reason"].endswith(": No space left on device")
    monkeypatch.undo()
    again = extend(own_finished, "tiny", 1, EPOCHS, None)
    observer = watch()
    done = run_study(again.config, own_finished, bank=bank, observer=observer)
    assert [event.done for event in observer.of(TrainingStarted)] == [4]
    states = [trial.state for trial in done.study.get_trials()]
    assert states == [TrialState.FAIL, TrialState.COMPLETE]
    last = extend(own_finished, "tiny", 1, EPOCHS, None)
    assert run_study(last.config, own_finished, bank=bank).study.get_trials() == (
        done.study.get_trials()
    )


def test_a_trial_that_was_cut_off_between_two_parameters_is_not_doubled(
    own_finished: Store, bank: PhotoBank
) -> None:
    extension = extend(own_finished, "tiny", 2, EPOCHS, None)
    with prepare(extension.config, own_finished, bank) as plan:
        begun = plan.context.study.ask()
        begun.suggest_int("nz", 4, 16, log=True)
    done = run_study(extension.config, own_finished, bank=bank)
    states = [trial.state for trial in done.study.get_trials()]
    assert states == [TrialState.COMPLETE, TrialState.COMPLETE]


def test_an_extension_is_forecast_without_what_was_trained_before(
    own_finished: Store, finished: Any, bank: PhotoBank
) -> None:
    extension = extend(own_finished, "tiny", 2, EPOCHS, None)
    with prepare(extension.config, own_finished, bank) as plan:
        two = estimate(plan.config, 1, [], own_finished, 32, lambda *_: Pace(1 / 32, 1 / 32))
    assert two is not None
    assert two.minutes == pytest.approx(2 * (EPOCHS - 2) * 32 / 32.0 / 60)


def test_a_folder_of_another_trial_hides_no_checkpoint(
    own_finished: Store, bank: PhotoBank, watch: Any
) -> None:
    extension = extend(own_finished, "tiny", 1, EPOCHS, None)
    folder = own_finished.study("tiny-4-epochs").trial(0)
    TrialRecord(0, {"nz": 3}, "sampler", None, 7).save(folder)
    observer = watch()
    run_study(extension.config, own_finished, bank=bank, observer=observer)
    assert [event.done for event in observer.of(TrainingStarted)] == [4]


def test_what_cannot_be_extended(
    own_finished: Store, finished: Any, bank: PhotoBank, tiny_study: Maker
) -> None:
    with pytest.raises(UnknownStudyError, match="there is no study 'none'"):
        extend(own_finished, "none", 1, EPOCHS, None)
    with pytest.raises(UsageError, match="--epochs 2: the trials of 'tiny' have trained 2 epochs"):
        extend(own_finished, "tiny", 1, 2, None)
    with pytest.raises(StudyError, match="there is a study 'tiny', which does not extend 'tiny'"):
        extend(own_finished, "tiny", 1, EPOCHS, "tiny")
    extension = extend(own_finished, "tiny", 1, EPOCHS, None)
    with pytest.raises(StudyMismatchError, match=r"the photos of 'tiny' had the fingerprint"):
        check_extension(extension, own_finished, replace(bank, fingerprint="other"))
    other = override(extension.config, {"base.eval.extractor": "layout"}, "test")
    with pytest.raises(StudyMismatchError, match=r"the extractor of 'tiny' had the fingerprint"):
        check_extension(replace(extension, config=other), own_finished, bank)
    assert not own_finished.study("tiny-4-epochs").path.exists()


def test_a_first_launch_that_failed_is_no_obstacle(own_finished: Store, bank: PhotoBank) -> None:
    extension = extend(own_finished, "tiny", 1, EPOCHS, None)
    broken = override(extension.config, {"study.launcher": "nonsense"}, "test")
    with pytest.raises(UsageError, match="there is no launcher"):
        run_study(broken, own_finished, bank=bank)
    assert extend(own_finished, "tiny", 1, EPOCHS, None) == extension
    assert run_study(extension.config, own_finished, bank=bank).finished == 1


def test_learning_rates_that_have_begun_to_fall(
    tiny_study: Maker, store: Store, bank: PhotoBank
) -> None:
    """Those of a longer training would not have."""
    falling = tiny_study(study__trials=1, base__optim__decay_fraction=0.5)
    run_study(falling, store, bank=bank)
    extension = extend(store, "tiny", 1, EPOCHS, None)
    with pytest.raises(StudyError, match="learning rates fall over the last 50%, which a run of 4"):
        check_extension(extension, store, bank)


@pytest.mark.slow
def test_the_command(own_finished: Store, finished: Any, shell: Shell, tmp_path: Path) -> None:
    options = ("tiny", "--store", own_finished.root, "--top", 2, "--epochs", EPOCHS)
    said = shell("extend", *options, "--workers", 2).stdout
    assert "tiny-4-epochs: 2 of 2 trials finished" in said
    again = shell("extend", *options).stdout
    assert "tiny-4-epochs: 2 of 2 trials finished" in again
    assert len(load_optuna_study(own_finished, "tiny-4-epochs").trials) == 2
    # Its own config continues it, too.
    config = study_config(load_optuna_study(own_finished, "tiny-4-epochs"))
    save_config(config, tmp_path / "again.yaml")
    said = shell("run", tmp_path / "again.yaml", "--store", own_finished.root).stdout
    assert "tiny-4-epochs: 2 of 2 trials finished" in said
