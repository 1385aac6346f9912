"""How many trainings share a GPU."""

from __future__ import annotations

import math

import pytest
import torch

from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig
from dcgan.errors import DcganError, OutOfMemoryError
from dcgan.training.packing import Together, best_packing, train_together


@pytest.mark.parametrize(
    ("rates", "used", "best"),
    [
        ({1: 100, 2: 190, 4: 350, 8: 360}, 0.01, 4),
        ({1: 100, 2: 190, 4: 350, 8: 690}, 0.01, 8),
        ({1: 100, 2: 104}, 0.01, 1),
        ({1: 100, 2: 190}, 0.25, 2),  # four would take all of the memory
        ({1: 100}, 0.45, 1),
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
            raise OutOfMemoryError("out of memory")
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


@pytest.mark.slow
def test_one_that_fails_does_not_leave_the_others_waiting() -> None:
    absent = "mps" if torch.cuda.is_available() else "cuda"
    with pytest.raises(DcganError, match=absent):
        train_together(override(TrainConfig(), SMALL | {"train.device": absent}), 2, 0.2)
