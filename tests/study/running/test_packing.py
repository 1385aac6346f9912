"""`--trials-per-gpu auto`: how many trials share a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dcgan.config.settings import get_dotted
from dcgan.config.train_config import TrainConfig
from dcgan.errors import UsageError
from dcgan.training.speed import fastest_threads
from study.cli.options import worker_settings
from study.config.dimensions import Choices
from study.running.resources import Machine, choose_packing, choose_resources, trials_per_gpu

Maker = Callable[..., Any]


def test_what_shares_a_gpu_is_measured_in_the_middle_of_the_space(tiny_study: Maker) -> None:
    measured: list[TrainConfig] = []

    def pack(config: TrainConfig) -> tuple[int, dict[int, float]]:
        measured.append(config)
        return 4, {1: 100.0, 2: 190.0, 4: 300.0, 8: 290.0}

    asked = tiny_study(study__trials_per_gpu="auto", study__workers="auto")
    machine = Machine("cuda", processors=8, gpus=2)
    config, (note,) = choose_packing(asked, None, machine, pack)
    assert config.study.trials_per_gpu == 4
    assert "4, the fastest here (1: 100 images/s, 2: 190 images/s, 4: 300 images/s" in note
    assert choose_resources(config, None, machine, fastest_threads).workers == 8
    (typical,) = measured
    for key, dimension in asked.space.items():
        value = get_dotted(typical, key)
        if isinstance(dimension, Choices):
            assert value in dimension.choices
        else:
            assert dimension.low <= value <= dimension.high
    assert choose_packing(config, None, machine, pack) == (config, [])
    same, (note,) = choose_packing(asked, None, Machine(processors=8), pack)
    assert "there is none here" in note
    assert same == asked
    fixed = tiny_study(study__trials_per_gpu="auto", study__workers=5)
    config, notes = choose_packing(fixed, None, machine, pack)
    assert (config.study.trials_per_gpu, notes) == (3, [])
    assert choose_resources(config, None, machine, fastest_threads).workers == 5
    assert len(measured) == 1
    assert trials_per_gpu(same) == 1


def test_the_option_that_measures_starts_workers_too() -> None:
    both = {"study.workers": "auto", "study.trials_per_gpu": "auto"}
    assert worker_settings(None, "auto") == both
    assert worker_settings("3", "auto") == {**both, "study.workers": 3}
    assert worker_settings(None, "3") == {"study.trials_per_gpu": 3}
    with pytest.raises(UsageError, match="--trials-per-gpu must be a number from 1 on, or auto"):
        worker_settings(None, "0")
