"""Spectrally normalised convolutions against torch's hook and its singular values."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import spectral_norm

from dcgan.models.spectral import SpectralConv


@pytest.fixture
def layer() -> SpectralConv:
    layer = SpectralConv(6, 5, 4, 2, 1).double()
    layer.initialise(0.02, torch.Generator().manual_seed(0))
    return layer


def converge(layer: SpectralConv) -> None:
    for _ in range(500):
        layer.normalised()


def test_the_norm_is_the_largest_singular_value(layer: SpectralConv) -> None:
    converge(layer)
    norm = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2)
    torch.testing.assert_close(layer.normalised(), layer.weight / norm)


def test_the_gradient_is_that_of_the_exact_quotient(layer: SpectralConv) -> None:
    converge(layer)
    target = torch.randn(layer.weight.shape, dtype=torch.float64)
    exact = layer.weight / torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2)
    (expected,) = torch.autograd.grad((exact * target).sum(), layer.weight)
    (gradient,) = torch.autograd.grad((layer.normalised() * target).sum(), layer.weight)
    torch.testing.assert_close(gradient, expected)


def test_each_pass_in_training_is_one_iteration_of_torchs() -> None:
    layer = SpectralConv(6, 5, 3, 1, 1).double()
    layer.initialise(0.02, torch.Generator().manual_seed(1))
    other = spectral_norm(nn.Conv2d(6, 5, 3, 1, 1).double())
    with torch.no_grad():
        other.weight_orig.copy_(layer.weight)
        other.weight_u.copy_(layer.left)
        other.bias.copy_(layer.bias)
    images = torch.randn(3, 6, 8, 8, dtype=torch.float64)
    for _ in range(3):
        torch.testing.assert_close(layer(images), other(images))


def test_a_pass_in_eval_mode_changes_nothing(layer: SpectralConv) -> None:
    before = layer.left.clone()
    layer.eval().normalised()
    assert torch.equal(layer.left, before)
    layer.train().normalised()
    assert not torch.equal(layer.left, before)


def test_initial_values_depend_on_the_generator_alone() -> None:
    first, second = SpectralConv(3, 4, 3), SpectralConv(3, 4, 3)
    first.initialise(0.02, torch.Generator().manual_seed(5))
    torch.randn(3)
    second.initialise(0.02, torch.Generator().manual_seed(5))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    assert float(first.weight.detach().std()) == pytest.approx(0.02, rel=0.2)
