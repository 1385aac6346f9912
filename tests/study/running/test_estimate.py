"""What a study will take, against what it took."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.trial import TrialState
from shared import wait_for

from benchmarks.lib.servers import children
from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig
from dcgan.errors import OutOfMemoryError
from dcgan.training.run.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.size import checkpoint_bytes
from dcgan.training.step import TrainState, training_step
from study.cli.run import print_plan
from study.config.rung_ends import with_rungs
from study.config.study_config import StudyConfig, possible_values
from study.running.estimate import (
    Estimate,
    disk_bytes,
    estimate,
    largest_networks,
    minutes_by_trials,
    trial_bytes,
)
from study.running.prepare import prepare
from study.running.typical_speed import Pace, seconds_per_image
from study.search.rungs import Rungs, epochs_in_all
from study.storage.store import Store
from study.storage.trial_result import TrialResult
from study.storage.trial_summaries import summaries_of

Maker = Callable[..., StudyConfig]
Shell = Callable[..., subprocess.CompletedProcess[str]]


def test_the_checkpoints_of_a_study(finished: Any) -> None:
    sizes = set[int]()
    for path in finished.store.study("tiny").path.glob("trials/*/checkpoint.pt"):
        checkpoint, size = load_checkpoint(path), path.stat().st_size
        assert 0.9 * size < checkpoint_bytes(checkpoint.config, checkpoint.step) < 1.1 * size
        sizes.add(size)
    assert len(sizes) > 1  # of networks of several sizes


@pytest.mark.parametrize(("side", "ngf", "ndf"), [(32, 96, 16), (64, 24, 40), (128, 8, 8)])
def test_the_checkpoint_of_other_networks(
    tiny_config: Callable[..., TrainConfig], tmp_path: Path, side: int, ngf: int, ndf: int
) -> None:
    config = tiny_config(data__image_size=side, model__ngf=ngf, model__ndf=ndf)
    state = TrainState.fresh(config, torch.device("cpu"))
    training_step(state, torch.full((2, 3, side, side), 127, dtype=torch.uint8), config)
    path, losses = tmp_path / "checkpoint.pt", torch.zeros(5000, 5)
    save_checkpoint(Checkpoint(path, config, 1, 1, "photos", 1.0, losses, state.state_dict()))
    size = path.stat().st_size
    assert 0.9 * size < checkpoint_bytes(config, 5000) < 1.1 * size


def test_what_a_complete_trial_keeps_beside_it(finished: Any, mirror_of: Any) -> None:
    """An upper bound, and not one so far away that it says nothing."""
    mirror = mirror_of(finished.store)
    for trial in finished.trials:
        if trial.state != TrialState.COMPLETE:
            continue
        folder = RunFolder(finished.store.study("tiny").trial(trial.number))
        run = mirror.runs("trial")[trial.number]
        places = (folder.path, finished.store.artifacts / "tiny" / run.info.run_id)
        files = [file for place in places for file in place.rglob("*") if file.is_file()]
        size = sum(file.stat().st_size for file in files if file not in folder.checkpoints)
        bound = trial_bytes(largest_networks(finished.config), 32)
        assert size < bound < 3 * size


def test_the_largest_networks_of_a_space(tiny_study: Maker) -> None:
    model = largest_networks(tiny_study()).model
    assert (model.nz, model.ngf, model.ndf) == (16, 8, 4)  # ndf is not searched
    choices = {"type": "categorical", "choices": [16, 64, 32]}
    space = {"model.ndf": choices}
    assert largest_networks(tiny_study(space=space, baselines=[])).model.ndf == 64


def test_the_largest_discriminator_counts(tiny_study: Maker) -> None:
    kinds = {"model.discriminator": {"type": "categorical", "choices": ["dcgan", "projected"]}}
    for width, expected in ((1, "dcgan"), (256, "projected")):
        config = tiny_study(
            space=kinds,
            baselines=[],
            base__projected__side=64,
            base__projected__pixels=False,
            base__projected__width=width,
            base__projected__channels=width,
            base__model__ndf=64,
        )
        assert largest_networks(config).model.discriminator == expected


def test_switches_of_the_networks_count(tiny_study: Maker) -> None:
    def choices(*values: Any) -> dict[str, Any]:
        return {"type": "categorical", "choices": list(values)}

    largest = largest_networks(
        tiny_study(
            space={
                "model.upsample": choices("nearest", "transposed"),
                "model.discriminator": choices("dcgan", "projected"),
                "projected.pixels": choices(False, True),
                "projected.scales": choices([4], [4, 8, 16]),
            },
            baselines=[],
            base__projected__side=64,
        )
    )
    assert largest.model.upsample == "transposed"  # 16 instead of 9 weights
    assert largest.model.discriminator == "projected"
    assert largest.projected.pixels
    assert largest.projected.scales == (4, 8, 16)


def test_disk_space_follows_what_is_kept(tiny_study: Maker) -> None:
    one = checkpoint_bytes(largest_networks(tiny_study()), 4)
    rest = trial_bytes(largest_networks(tiny_study()), 32)

    def size(keep: int, trials: int, workers: int = 1) -> float:
        return disk_bytes(tiny_study(checkpoints__keep=keep), trials, 32, workers)

    more = disk_bytes(tiny_study(checkpoints__keep=2, checkpoints__keep_pruned=3), 10, 32)
    assert more == size(5, 10)
    never = {"checkpoints__keep_pruned": 3, "pruner__name": "none"}
    assert disk_bytes(tiny_study(checkpoints__keep=2, **never), 10, 32) == size(2, 10)

    assert size(0, 10) == pytest.approx(3 * one + 10 * rest)
    assert size(5, 10) - size(0, 10) == pytest.approx(10 * one)  # each its last and its best
    assert size(50, 10) == size(10, 10)
    assert size(5, 20) - size(5, 10) == pytest.approx(10 * rest)
    assert size(5, 10, 3) - size(5, 10) == pytest.approx(6 * one)


def test_one_evaluation_means_one_checkpoint(tiny_study: Maker) -> None:
    def size(keep: int) -> float:
        settings = {"checkpoints__keep": keep, "base__eval__every_epochs": 0}
        return disk_bytes(tiny_study(**settings), 10, 32)

    one = checkpoint_bytes(largest_networks(tiny_study()), 4)
    assert size(5) - size(0) == pytest.approx(5 * one)


def ended(state: TrialState, minutes: float | None) -> TrialResult:
    return TrialResult(0, state, [1.0] if state == TrialState.COMPLETE else None, minutes=minutes)


def test_time_is_the_median_of_complete_trials() -> None:
    complete = [ended(TrialState.COMPLETE, minutes) for minutes in (1.0, 2.0, 30.0)]
    pruned = [ended(TrialState.PRUNED, 0.1)] * 9
    unknown = [ended(TrialState.COMPLETE, None)]
    assert minutes_by_trials([*complete, *pruned, *unknown], 6) == pytest.approx(12.0)
    assert minutes_by_trials([*pruned, *unknown], 6) is None


def test_a_study_that_goes_on(finished: Any, tiny_study: Maker) -> None:
    trials = summaries_of(finished.summary.study)

    def expected(total: int, workers: int) -> Estimate | None:
        config = tiny_study(study__trials=total)
        return estimate(config, workers, trials, finished.store, 32)

    assert expected(6, 1) is None
    one, four = expected(18, 1), expected(18, 4)
    assert one is not None
    assert four is not None
    assert (one.trials, one.begun, one.slow_minutes, one.fits) == (12, True, None, True)
    assert one.minutes == pytest.approx(minutes_by_trials(trials, 12))
    assert four.minutes == pytest.approx(minutes_by_trials(trials, 3))
    assert one.disk_bytes == disk_bytes(finished.config, 12, 32)


def test_rungs_are_forecast_by_epochs(tiny_study: Maker, store: Store) -> None:
    settings = {"study__trials": 40, "budget__images": [320, 960, 2880], "pruner__name": "none"}
    config = with_rungs(tiny_study(**settings), 32)
    assert config.budget.epochs == (10, 30, 90)
    whole = epochs_in_all(Rungs((10, 30, 90), 1 / 2, 40), 2)  # two are baselines
    done = [replace(ended(TrialState.PRUNED, 2.0), number=n, epoch=10) for n in range(3)]
    two = estimate(config, 2, [*done, TrialResult(3, TrialState.RUNNING)], store, 32)
    assert two is not None
    assert two.minutes == pytest.approx(math.ceil((whole - 30) / 2) * 0.2)
    first, straight = (
        estimate(it, 1, [], store, 32, lambda *_: Pace(1 / 100, 1 / 50))
        for it in (config, override(config, {"budget.images": [], "budget.epochs": []}))
    )
    assert first is not None
    assert straight is not None
    assert first.minutes == pytest.approx(math.ceil(whole) * 32 / 100 / 60)
    assert first.slow_minutes == pytest.approx(math.ceil(whole) * 32 / 50 / 60)
    assert straight.minutes == pytest.approx(40 * 90 * 32 / 100 / 60)
    # Waiting trials keep their checkpoints, which here may be all 40 instead of the best 5.
    one = checkpoint_bytes(largest_networks(config), 180)
    assert first.disk_bytes - straight.disk_bytes == pytest.approx(2 * (40 - 5) * one)


def test_speed_is_that_of_what_is_trained(tiny_study: Maker) -> None:
    """By hand: baselines are counted with their full length, the rest with random configs."""
    measured = list[TrainConfig]()

    def measure(config: TrainConfig) -> float:
        measured.append(config)
        return [10.0, 10.0, 20.0, 40.0, 40.0, 40.0, largest][len(measured) - 1]

    config, mean, largest = tiny_study(study__trials=8), (1 / 20 + 3 / 40) / 4, 16.0
    known = 2 / 8 / 10
    expected = pytest.approx((known + 6 / 8 * mean, known + 6 / 8 / 16))
    assert seconds_per_image(config, 1, measure) == expected
    # The last one is the slowest of the random ones with the space's largest networks.
    model, slow = measured[6].model, measured[2].model
    assert (model.nz, model.ngf, model.ndf) == tuple(
        max(possible_values(config, f"model.{key}")) for key in ("nz", "ngf", "ndf")
    )
    assert model.model_copy(update={"nz": slow.nz, "ngf": slow.ngf, "ndf": slow.ndf}) == slow
    measured.clear()
    largest = 80.0  # it is fast after all
    expected = pytest.approx((known + 6 / 8 * mean, known + 6 / 8 / 20))
    assert seconds_per_image(config, 1, measure) == expected
    assert [one.model.nz for one in measured[:2]] == [
        baseline.params["model.nz"] for baseline in config.baselines
    ]
    assert len({one.model.nz for one in measured[2:]}) > 1
    again = measured.copy()
    measured.clear()
    seconds_per_image(config, 1, measure)
    assert measured == again
    settings = {"budget__images": [320, 960, 2880], "pruner__name": "none", "study__trials": 40}
    measured.clear()
    share = 2 * 90 / epochs_in_all(Rungs((10, 30, 90), 1 / 2, 40), 2)
    rungs = with_rungs(tiny_study(**settings), 32)
    expected = pytest.approx((share / 10 + (1 - share) * mean, share / 10 + (1 - share) / 20))
    assert seconds_per_image(rungs, 1, measure) == expected


def test_what_memory_is_not_enough_for_is_left_out(tiny_study: Maker) -> None:
    calls = 0

    def measure(config: TrainConfig) -> float:
        nonlocal calls
        calls += 1
        if calls != 2:
            raise OutOfMemoryError("too large")
        return 50.0

    expected = pytest.approx((1 / 50, 1 / 50))
    assert seconds_per_image(tiny_study(study__trials=8), 1, measure) == expected
    assert seconds_per_image(tiny_study(study__trials=8), 1, measure) is None


def test_a_study_of_baselines_alone_measures_only_these(tiny_study: Maker) -> None:
    measured = list[TrainConfig]()

    def measure(config: TrainConfig) -> float:
        measured.append(config)
        return 20.0

    expected = pytest.approx((1 / 20, 1 / 20))
    assert seconds_per_image(tiny_study(study__trials=2), 1, measure) == expected
    assert len(measured) == 2


def test_other_workers_are_at_work_while_one_is_measured(tiny_study: Maker) -> None:
    beside: list[list[int]] = []

    def measure(_: TrainConfig) -> float:
        beside.append(children(os.getpid()))
        return 20.0

    before = set(children(os.getpid()))
    config = override(tiny_study(study__trials=2), {"base.train.threads": 2})
    seconds_per_image(config, 2, measure)
    assert [len(set(pids) - before) for pids in beside] == [2, 2]
    assert set(children(os.getpid())) <= before
    # They end with the process that started them, however that ends.
    code = "import os, sys\nfrom study.running.typical_speed import busy\nwith busy(1):\n"
    code += " print(os.getpid(), flush=True)\n sys.stdin.read()"
    killed = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with killed:
        assert killed.stdout
        (pid,) = children(int(killed.stdout.readline()))
        killed.kill()
    wait_for(lambda: not Path(f"/proc/{pid}").exists())


def test_a_first_launch_measures_a_few_steps(tiny_study: Maker, store: Store) -> None:
    first = estimate(tiny_study(study__trials=4), 1, [], store, 32)
    double = estimate(tiny_study(study__trials=400), 2, [], store, 32)
    assert first is not None
    assert double is not None
    assert first.slow_minutes is not None
    assert first.minutes is not None
    assert double.minutes is not None
    # Fifty times the trials for each worker; the machine's speed varies, but not tenfold.
    assert 5 < double.minutes / first.minutes < 500


def test_the_sentence() -> None:
    told = Estimate(30, False, 45.2, None, 6e8, 80e9).describe()
    assert told == (
        "30 trials: about 45 min (pruning makes it less), at most about 0.6 GB; 80.0 GB are free"
    )
    told = Estimate(1, True, 200.0, 210.0, 2e7, 5e7).describe()
    assert told == (
        "1 more trial: about 3.3 h of training (pruning makes it less), at most about 20 MB; 50 MB "
        "are free"
    )
    told = Estimate(24, False, 85.0, 190.0, 2e9, 5e10, rungs=3, prunes=False).describe()
    assert told == (
        "24 trials on 3 rungs: about 85 min of training, 3.2 h if slow configs prove best, at most "
        "about 2.0 GB; 50.0 GB are free"
    )
    told = Estimate(2, False, None, None, 2e7, 1e7).describe()
    assert told == "2 trials: at most about 20 MB; 10 MB are free"
    assert not Estimate(2, False, None, None, 2e7, 1e7).fits


@pytest.mark.slow
def test_a_launch_says_it_before_the_first_trial(
    shell: Shell, study_file: Callable[..., Path], store: Store
) -> None:
    out = shell("run", study_file(study__trials=1), "--store", store.root).stdout
    (line,) = [line for line in out.splitlines() if "are free" in line]
    assert line.startswith("1 trial: about 1 min of training")
    assert out.index(line) < out.index("1 of 1 trials finished")
    out = shell("run", study_file(study__trials=2), "--store", store.root).stdout
    assert "1 more trial: about 1 min (pruning makes it less), at most about " in out
    out = shell("run", study_file(study__trials=2), "--store", store.root).stdout
    assert "are free" not in out


def test_a_study_that_would_fill_the_disk(
    tiny_study: Maker, store: Store, bank: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"study__trials": 1_000_000, "base__train__grid_every_steps": 1}
    config = tiny_study(**settings, base__train__epochs=500)
    with prepare(config, store, bank) as plan:
        print_plan(plan)
    out = capsys.readouterr().out
    assert "1000000 trials: about " in out
    assert "warning: that is more than is free; lower checkpoints.keep, or choose another" in out
