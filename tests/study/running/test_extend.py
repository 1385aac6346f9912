"""`study extend`: the best trials of a study, trained further."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.trial import TrialState

from dcgan.config.settings import override
from dcgan.data.bank import PhotoBank
from dcgan.errors import UsageError
from dcgan.evaluation.record import EvalRecord
from dcgan.training.loop import train
from dcgan.training.run.checkpoint import load_checkpoint
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import LogRecord, read_evals, read_history
from study.config.space import trial_config
from study.config.study_config import StudyConfig
from study.errors import StudyError, UnknownStudyError
from study.results.export import export_config
from study.results.leaderboard import rows_of
from study.running.extend import bring_trials, extend
from study.running.observer import TrainingStarted
from study.running.study import run_study
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store
from study.storage.trial_result import TrialResult

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
    assert [row.number for row in extension.trials.values()] == [row.number for row in best]
    assert bring_trials(extension, own_finished, bank) == []
    observer = watch()
    done = run_study(extension.config, own_finished, bank=bank, observer=observer)
    assert (done.name, done.finished, done.total) == ("tiny-4-epochs", 2, 2)
    assert [event.done for event in observer.of(TrainingStarted)] == [4, 4]  # of 8 steps
    for row, trial in zip(best, done.study.get_trials(), strict=True):
        assert trial.params == row.params
        assert trial.user_attrs["baseline"] == f"trial-{row.number:03d} of tiny"
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


def test_more_trials_come_after_those_that_began(
    own_finished: Store, finished: Any, bank: PhotoBank, watch: Any
) -> None:
    assert len(complete(finished)) >= 3
    first = extend(own_finished, "tiny", 1, EPOCHS, "longer")
    bring_trials(first, own_finished, bank)
    run_study(first.config, own_finished, bank=bank)
    again = extend(own_finished, "tiny", 1, EPOCHS, "longer")
    assert again.config.baselines == first.config.baselines
    more = extend(own_finished, "tiny", 3, EPOCHS, "longer")
    assert more.config.baselines[:1] == first.config.baselines
    bring_trials(more, own_finished, bank)
    observer = watch()
    done = run_study(more.config, own_finished, bank=bank, observer=observer)
    assert [event.trial for event in observer.of(TrainingStarted)] == [1, 2]
    best = [row.params for row in complete(finished)[:3]]
    assert [trial.params for trial in done.study.get_trials()] == best


def test_a_trial_without_its_checkpoint_starts_again(
    own_finished: Store, finished: Any, bank: PhotoBank, watch: Any
) -> None:
    number = complete(finished)[0].number
    run = RunFolder(own_finished.study("tiny").trial(number))
    for path in run.checkpoints:
        path.unlink(missing_ok=True)
    extension = extend(own_finished, "tiny", 1, EPOCHS, None)
    assert bring_trials(extension, own_finished, bank) == [
        f"trial-{number:03d} of 'tiny' has no checkpoint any more (checkpoints.keep): it starts "
        "again from step 0"
    ]
    observer = watch()
    done = run_study(extension.config, own_finished, bank=bank, observer=observer)
    assert [event.done for event in observer.of(TrainingStarted)] == [0]
    assert done.finished == 1


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
    with pytest.raises(StudyError, match=r"of 'tiny' cannot train further: .* on other photos"):
        bring_trials(extension, own_finished, replace(bank, fingerprint="other"))
    assert not own_finished.study("tiny-4-epochs").trials()


def test_learning_rates_that_have_begun_to_fall(
    tiny_study: Maker, store: Store, bank: PhotoBank
) -> None:
    """Those of a longer training would not have."""
    falling = tiny_study(study__trials=1, base__optim__decay_fraction=0.5)
    run_study(falling, store, bank=bank)
    extension = extend(store, "tiny", 1, EPOCHS, None)
    with pytest.raises(StudyError, match="learning rates fall over the last 50%, which a run of 4"):
        bring_trials(extension, store, bank)


@pytest.mark.slow
def test_the_command(own_finished: Store, finished: Any, shell: Shell) -> None:
    options = ("tiny", "--store", own_finished.root, "--top", 2, "--epochs", EPOCHS)
    said = shell("extend", *options, "--workers", 2).stdout
    assert "tiny-4-epochs: 2 of 2 trials finished" in said
    again = shell("extend", *options).stdout
    assert "tiny-4-epochs: 2 of 2 trials finished" in again
    assert len(load_optuna_study(own_finished, "tiny-4-epochs").trials) == 2
    refused = shell("extend", *options, "--set", "eval.n_samples=32", "--name", "other", code=1)
    assert "cannot train further" in refused.stderr
    assert "eval.n_samples was 64, now 32" in refused.stderr
