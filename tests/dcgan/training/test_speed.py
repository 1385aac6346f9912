"""Choosing the number of CPU threads by training for a moment."""

import pytest
import torch

from dcgan.config.train_config import DataConfig, ModelConfig, TrainConfig
from dcgan.runtime.devices import processors
from dcgan.training.speed import fastest_threads


@pytest.mark.parametrize(
    ("rates", "limit", "chosen", "tried"),
    [
        ({1: 50.0}, 1, 1, [1]),
        ({1: 50.0, 2: 80.0}, 2, 2, [1, 2]),
        ({1: 50.0, 2: 52.0}, 2, 1, [1, 2]),  # too little for a second thread
        ({1: 50.0, 2: 10.0}, 8, 1, [1, 2]),  # the machine is busy: no need to try more
        ({1: 50.0, 2: 90.0, 4: 150.0, 6: 160.0}, 6, 6, [1, 2, 4, 6]),
        ({1: 50.0, 2: 90.0, 4: 150.0, 8: 151.0}, 64, 4, [1, 2, 4, 8]),
        ({1: 50.0, 2: 90.0, 3: 120.0}, 3, 3, [1, 2, 3]),
    ],
)
def test_doubles_while_it_pays(rates, limit, chosen, tried):
    found = fastest_threads(TrainConfig(), limit, measure=lambda config, threads: rates[threads])
    assert found == (chosen, {n: rates[n] for n in tried})


@pytest.mark.slow
def test_measures_for_real_and_leaves_the_thread_count_alone():
    config = TrainConfig(data=DataConfig(image_size=32), model=ModelConfig(ngf=4, ndf=4))
    before = torch.get_num_threads()
    threads, rates = fastest_threads(config)
    assert torch.get_num_threads() == before
    assert 1 <= threads <= processors()
    assert threads in rates
    assert all(rate > 0 for rate in rates.values())
