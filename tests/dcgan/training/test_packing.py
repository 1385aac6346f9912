"""How many trainings share a GPU."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch

from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig
from dcgan.training import packing
from dcgan.training.packing import PackingError, Together, best_packing, train_together


@pytest.mark.parametrize(
    ("rates", "used", "best"),
    [
        ({1: 100, 2: 190, 4: 350, 8: 360}, 0.01, 4),
        ({1: 100, 2: 190, 4: 350, 8: 690}, 0.01, 8),
        ({1: 100, 2: 104}, 0.01, 1),
        ({1: 100, 2: 190}, 0.13, 2),  # four would leave no room for scoring
        ({1: 100}, 0.3, 1),
        ({1: 100, 2: 190, 4: math.nan}, 0.01, 2),  # four did not fit
        ({1: math.nan}, 0.01, 1),
    ],
)
def test_more_trainings_share_a_gpu_while_it_pays(
    rates: dict[int, float], used: float, best: int
) -> None:
    tried: list[int] = []

    def measure(config: TrainConfig, count: int) -> Together:
        tried.append(count)
        if math.isnan(rates[count]):
            raise PackingError("out of memory")
        return Together(rates[count], 2**20, used * count)

    found, told = best_packing(TrainConfig(), measure)
    assert found == best
    assert tried == list(rates)
    assert told == {count: rate for count, rate in rates.items() if not math.isnan(rate)}


SMALL = {
    "train.device": "cpu",
    "train.batch_size": 2,
    "data.image_size": 32,
    "model.ngf": 2,
    "model.ndf": 2,
}


@pytest.mark.slow
def test_processes_train_together() -> None:
    found = train_together(override(TrainConfig(), SMALL), 2, 0.2)
    assert found.images_per_second > 1
    assert 2**26 < found.bytes_each < 2**33
    assert found.used == 0.0


FIRST_FAILS = """
import pathlib, sys
mine = pathlib.Path({folder!r}) / "first"
sys.stdin.readline()
try:
    mine.touch(exist_ok=False)
except FileExistsError:
    print("ready", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.timeout(60)
def test_one_that_dies_does_not_leave_the_others_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = FIRST_FAILS.format(folder=str(tmp_path))
    monkeypatch.setattr(packing, "COMMAND", (sys.executable, "-c", program))
    with pytest.raises(PackingError):
        train_together(override(TrainConfig(), SMALL), 3, 0.2)
    assert best_packing(TrainConfig()) == (1, {})


def test_a_config_that_cannot_train_here_is_no_answer() -> None:
    absent = "mps" if torch.cuda.is_available() else "cuda"
    with pytest.raises(PackingError):
        train_together(override(TrainConfig(), SMALL | {"train.device": absent}), 1, 0.2)
