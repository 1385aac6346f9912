"""The two networks, layer by layer, against the published table."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dcgan.models.networks import (
    Discriminator,
    Generator,
    hidden_stages,
    initialise,
    parameter_count,
    sample_noise,
    without_batchnorm,
)
from dcgan.runtime.seeds import make_rng
from dcgan.training.step import TrainState

SIZES = [32, 64, 128]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("batch", [1, 5])
def test_shapes_and_ranges(size: int, batch: int) -> None:
    generator, discriminator = Generator(7, 4, size), Discriminator(4, size)
    images = generator(sample_noise(batch, 7, make_rng("cpu", 1)))
    assert images.shape == (batch, 3, size, size)
    assert images.abs().max() <= 1
    logits = discriminator(images)
    assert logits.shape == (batch,)
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in generator) == hidden_stages(size)


def test_logits_are_not_probabilities() -> None:
    discriminator = Discriminator(4, 32)
    with torch.no_grad():
        last = discriminator[-2]
        assert isinstance(last, nn.Conv2d)
        last.weight.mul_(1000)
        logits = discriminator(torch.randn(8, 3, 32, 32, generator=make_rng("cpu", 2)))
    assert logits.min() < 0 or logits.max() > 1


def convolution(layer: nn.Module) -> tuple[object, ...]:
    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    assert layer.groups == 1
    assert layer.dilation == (1, 1)
    return (
        "Conv2d" if isinstance(layer, nn.Conv2d) else "ConvTranspose2d",
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size[0],
        layer.stride[0],
        layer.padding[0],
        layer.bias is not None,
    )


def describe(network: nn.Sequential) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            rows.append(convolution(layer))
        elif isinstance(layer, nn.BatchNorm2d):
            assert (layer.eps, layer.momentum, layer.affine) == (1e-5, 0.1, True)
            rows.append(("BatchNorm2d", layer.num_features))
        elif isinstance(layer, nn.LeakyReLU):
            rows.append(("LeakyReLU", layer.negative_slope))
        else:
            rows.append((type(layer).__name__,))
    return rows


def test_reference_generator() -> None:
    up = "ConvTranspose2d"
    assert describe(Generator(30, 64, 64)) == [
        (up, 30, 512, 4, 1, 0, False),
        ("BatchNorm2d", 512),
        ("ReLU",),
        (up, 512, 256, 4, 2, 1, False),
        ("BatchNorm2d", 256),
        ("ReLU",),
        (up, 256, 128, 4, 2, 1, False),
        ("BatchNorm2d", 128),
        ("ReLU",),
        (up, 128, 64, 4, 2, 1, False),
        ("BatchNorm2d", 64),
        ("ReLU",),
        (up, 64, 3, 4, 2, 1, False),
        ("Tanh",),
    ]


def test_reference_discriminator() -> None:
    down = "Conv2d"
    assert describe(Discriminator(32, 64, 0.1)) == [
        (down, 3, 32, 4, 2, 1, False),
        ("LeakyReLU", 0.1),
        (down, 32, 64, 4, 2, 1, False),
        ("BatchNorm2d", 64),
        ("LeakyReLU", 0.1),
        (down, 64, 128, 4, 2, 1, False),
        ("BatchNorm2d", 128),
        ("LeakyReLU", 0.1),
        (down, 128, 256, 4, 2, 1, False),
        ("BatchNorm2d", 256),
        ("LeakyReLU", 0.1),
        (down, 256, 1, 4, 1, 0, False),
        ("Flatten",),
    ]


def test_fresh_state_is_built_from_the_config(tiny_config) -> None:
    config = tiny_config(model__leaky_slope=0.3, optim__lr_g=1e-3, optim__beta1=0.4)
    state = TrainState.fresh(config, torch.device("cpu"))
    assert ("LeakyReLU", 0.3) in describe(state.discriminator)
    assert state.optimizer_g.param_groups[0]["lr"] == 1e-3
    assert state.optimizer_d.param_groups[0]["lr"] == config.optim.lr_d
    for optimizer in (state.optimizer_g, state.optimizer_d):
        group = optimizer.param_groups[0]
        assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.4, 0.999), 1e-8, 0)
        assert group["amsgrad"] is False
    pairs = zip(state.ema.parameters(), state.generator.parameters(), strict=True)
    assert all(torch.equal(mean, value) and mean is not value for mean, value in pairs)
    assert not any(parameter.requires_grad for parameter in state.ema.parameters())


def test_initial_weights() -> None:
    """N(0, 0.02²) for convolutions, 1 and 0 for BatchNorm; bounds are five standard errors."""
    for network in (Generator(30, 64, 64), Discriminator(32, 64)):
        initialise(network, make_rng("cpu", 3))
        for layer in network:
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                weights = layer.weight.detach().double()
                count = weights.numel()
                assert abs(float(weights.std()) - 0.02) < 5 * 0.02 / (2 * count) ** 0.5
                assert abs(float(weights.mean())) < 5 * 0.02 / count**0.5
                within = float((weights.abs() < 0.02).double().mean())
                assert abs(within - 0.6827) < 5 * (0.6827 * 0.3173 / count) ** 0.5
            elif isinstance(layer, nn.BatchNorm2d):
                assert torch.equal(layer.weight, torch.ones_like(layer.weight))
                assert torch.equal(layer.bias, torch.zeros_like(layer.bias))


def test_initial_weights_depend_on_the_seed_alone(tiny_config) -> None:
    def weights(seed: int) -> list[torch.Tensor]:
        state = TrainState.fresh(tiny_config(train__seed=seed), torch.device("cpu"))
        return [*state.generator.parameters(), *state.discriminator.parameters()]

    torch.manual_seed(1)
    first = weights(0)
    torch.manual_seed(2)
    again, other = weights(0), weights(1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    convolutions = [(a, b) for a, b in zip(first, other, strict=True) if a.ndim == 4]
    assert not any(torch.equal(a, b) for a, b in convolutions)
    # The two networks have streams of their own.
    generator, discriminator = first[0].flatten(), first[-1].flatten()
    count = min(len(generator), len(discriminator))
    assert not torch.equal(generator[:count], discriminator[:count])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("nz", "ngf", "ndf"), [(30, 64, 32), (5, 3, 7)])
def test_parameter_counts(size: int, nz: int, ngf: int, ndf: int) -> None:
    """By hand: 16 weights a pair of channels, 2 values a normalised channel."""
    top = {32: 4, 64: 8, 128: 16}[size]  # channels of the deepest map over those of the shallowest
    chain = sum(16 * (2 * k) * k for k in (1, 2, 4, 8) if 2 * k <= top)  # hidden to hidden
    g_norm = 2 * ngf * (2 * top - 1)  # 1 + 2 + … + top times ngf
    g = 16 * nz * top * ngf + chain * ngf**2 + 16 * 3 * ngf + g_norm
    d_norm = 2 * ndf * (2 * top - 2)  # all but the first map
    d = 16 * 3 * ndf + chain * ndf**2 + 16 * top * ndf + d_norm
    with torch.device("meta"):
        assert parameter_count(Generator(nz, ngf, size)) == g
        assert parameter_count(Discriminator(ndf, size)) == d


def test_reference_parameter_counts() -> None:
    with torch.device("meta"):
        assert parameter_count(Generator(30, 64, 64)) == 3_003_264
        assert parameter_count(Discriminator(32, 64)) == 694_656


def test_noise_is_standard_normal_and_repeatable() -> None:
    noise = sample_noise(400, 25, make_rng("cpu", 4))
    assert noise.shape == (400, 25, 1, 1)
    assert torch.equal(noise, sample_noise(400, 25, make_rng("cpu", 4)))
    values = noise.double()
    assert abs(float(values.mean())) < 5 / 100
    assert abs(float(values.std()) - 1) < 5 / (2 * 10_000) ** 0.5


@pytest.mark.parametrize("size", SIZES)
def test_folding_batchnorm_changes_nothing(size: int) -> None:
    generator = Generator(7, 4, size).double()
    initialise(generator, make_rng("cpu", 1))
    noise = sample_noise(16, 7, make_rng("cpu", 2)).double()
    for norm in (layer for layer in generator if isinstance(layer, nn.BatchNorm2d)):
        nn.init.normal_(norm.weight, 1.0, 0.3)
        nn.init.normal_(norm.bias, 0.0, 0.3)
    generator(noise)  # moves the running statistics
    before = {key: value.clone() for key, value in generator.state_dict().items()}
    generator.eval()
    with torch.no_grad():
        folded = without_batchnorm(generator)
        assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded)
        torch.testing.assert_close(folded(noise), generator(noise), rtol=1e-10, atol=1e-10)
    after = generator.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
