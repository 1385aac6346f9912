"""The moving average of the generator: what its half-life means, and its BatchNorm statistics."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dcgan.models.ema import (
    BATCHNORM_BATCH,
    BATCHNORM_SAMPLES,
    ema_weight,
    update_ema,
    with_fresh_batchnorm,
)
from dcgan.models.networks import Generator, initialise, sample_noise
from dcgan.runtime.seeds import make_rng


@pytest.mark.parametrize(
    ("batch", "seen", "half_life", "weight"),
    [
        (32, 100_000, 0, 1.0),  # no averaging
        (32, 100_000, 32, 0.5),  # a batch is a half-life
        (32, 100_000, 64, 1 - math.sqrt(0.5)),
        (32, 100_000, 2_000, 1 - 0.5 ** (32 / 2_000)),
        (32, 32, 2_000, 1 - 0.5**10),  # a tenth of 32 images: the batch is ten half-lives
        (32, 320, 2_000, 0.5),
        (32, 640, 2_000, 1 - math.sqrt(0.5)),
        (32, 19_999, 2_000, 1 - 0.5 ** (32 / 1999.9)),  # the cap ends at ten half-lives
        (32, 20_000, 2_000, 1 - 0.5 ** (32 / 2_000)),
        (32, 20_001, 2_000, 1 - 0.5 ** (32 / 2_000)),
        (15, 150, 1, 1 - 0.5**15),
    ],
)
def test_weight_table(batch: int, seen: int, half_life: int, weight: float) -> None:
    assert ema_weight(batch, seen, half_life) == pytest.approx(weight, rel=1e-12)


@pytest.mark.parametrize("batches", [[32] * 20, [64] * 10, [32, 15, 17] * 10, [1] * 640])
def test_half_of_the_old_is_left_after_a_half_life(batches: list[int]) -> None:
    """Whatever the batches; long after the start."""
    assert sum(batches) == 640
    seen, old = 1_000_000, 1.0
    for batch in batches:
        seen += batch
        old *= 1 - ema_weight(batch, seen, 640)
    assert old == pytest.approx(0.5, rel=1e-9)


def test_first_weights_are_forgotten() -> None:
    """With the cap, the start's share falls like (first/seen)^(10 ln 2): below 1e-4 in 16 steps."""
    seen, old = 0, 1.0
    for _ in range(16):
        seen += 32
        old *= 1 - ema_weight(32, seen, 10**9)
    assert 0 < old < 1e-4


def modules() -> tuple[nn.Module, nn.Module]:
    rng = make_rng("cpu", 5)
    pair = []
    for _ in range(2):
        generator = Generator(4, 4, 32)
        initialise(generator, rng)
        with torch.no_grad():
            generator(sample_noise(8, 4, rng))  # BatchNorm's buffers differ
        pair.append(generator)
    return pair[0].requires_grad_(False), pair[1]


@pytest.mark.parametrize("weight", [1.0, 0.7, 0.5, 0.0115, 1e-6])
@pytest.mark.parametrize("as_tensor", [True, False])
def test_update_is_the_formula(weight: float, as_tensor: bool) -> None:
    average, current = modules()
    before = [value.double() for value in average.parameters()]
    update_ema(average, current, torch.tensor(weight) if as_tensor else weight)
    for old, mean, value in zip(before, average.parameters(), current.parameters(), strict=True):
        expected = (1 - weight) * old + weight * value.detach().double()
        torch.testing.assert_close(mean.double(), expected, rtol=1e-6, atol=1e-8)
        if weight == 1.0:
            assert torch.equal(mean, value)
    for mean, value in zip(average.buffers(), current.buffers(), strict=True):
        assert torch.equal(mean, value)


@pytest.mark.parametrize("weight", [0.0, torch.tensor(0.0)])
def test_weight_zero_leaves_the_average_alone(weight: float | torch.Tensor) -> None:
    average, current = modules()
    before = [value.clone() for value in average.parameters()]
    update_ema(average, current, weight)
    assert all(torch.equal(a, b) for a, b in zip(before, average.parameters(), strict=True))


def test_the_current_network_is_not_changed() -> None:
    average, current = modules()
    before = [value.detach().clone() for value in current.state_dict().values()]
    update_ema(average, current, 0.3)
    assert all(
        torch.equal(a, b) for a, b in zip(before, current.state_dict().values(), strict=True)
    )


def measured(generator: Generator) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Mean and variance before each BatchNorm, averaged over the batches, in plain float64."""
    rng = make_rng("cpu", "batchnorm")
    batches = [
        sample_noise(BATCHNORM_BATCH, generator.nz, rng).double()
        for _ in range(BATCHNORM_SAMPLES // BATCHNORM_BATCH)
    ]
    statistics = []
    layers = list(generator)
    for layer in layers[:-2]:
        if isinstance(layer, nn.BatchNorm2d):
            means = [x.mean((0, 2, 3)) for x in batches]
            variances = [x.var((0, 2, 3), correction=1) for x in batches]
            statistics.append((torch.stack(means).mean(0), torch.stack(variances).mean(0)))
            scale, shift = layer.weight.double()[:, None, None], layer.bias.double()[:, None, None]
            batches = [
                (x - x.mean((0, 2, 3), keepdim=True))
                / (x.var((0, 2, 3), correction=0, keepdim=True) + layer.eps).sqrt()
                * scale
                + shift
                for x in batches
            ]
        elif isinstance(layer, nn.ConvTranspose2d):
            batches = [
                torch.nn.functional.conv_transpose2d(
                    x, layer.weight.double(), stride=layer.stride, padding=layer.padding
                )
                for x in batches
            ]
        else:
            batches = [x.relu() for x in batches]
    return statistics


def test_fresh_batchnorm_is_the_mean_over_the_batches() -> None:
    generator, _ = modules()
    assert isinstance(generator, Generator)
    assert (BATCHNORM_SAMPLES, BATCHNORM_BATCH) == (256, 64)
    fresh = with_fresh_batchnorm(generator)
    norms = [layer for layer in fresh if isinstance(layer, nn.BatchNorm2d)]
    expected = measured(generator)
    assert len(norms) == len(expected) == 3
    for norm, (mean, variance) in zip(norms, expected, strict=True):
        torch.testing.assert_close(norm.running_mean.double(), mean, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(norm.running_var.double(), variance, rtol=1e-4, atol=1e-8)
    assert not fresh.training
    assert not any(module.training for module in fresh.modules())


@pytest.mark.parametrize("training", [True, False])
def test_fresh_batchnorm_leaves_the_rest_alone(training: bool) -> None:
    generator, _ = modules()
    generator.train(training)
    before = {key: value.clone() for key, value in generator.state_dict().items()}
    stream = torch.random.get_rng_state()
    first = with_fresh_batchnorm(generator)
    assert torch.equal(stream, torch.random.get_rng_state())
    assert generator.training is training
    assert all(torch.equal(before[key], value) for key, value in generator.state_dict().items())
    assert all(norm.momentum == 0.1 for norm in generator if isinstance(norm, nn.BatchNorm2d))
    second = with_fresh_batchnorm(generator)
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key])
    # Old statistics have no say.
    for buffer in generator.buffers():
        buffer.fill_(7)
    third = with_fresh_batchnorm(generator)
    assert all(torch.equal(v, third.state_dict()[k]) for k, v in first.state_dict().items())
