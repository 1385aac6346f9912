"""The kernel distance against a double loop, torchmetrics, and what it should be on average."""

import numpy as np
import pytest
import torch
from torchmetrics.image.kid import poly_mmd

from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics.kernel import BLOCK_ROWS, kernel_distance


def double_loop(real, fake):
    def k(x, y):
        return (sum(a * b for a, b in zip(x, y, strict=True)) / len(x) + 1.0) ** 3

    n, m = len(real), len(fake)
    within_real = sum(k(real[i], real[j]) for i in range(n) for j in range(n) if i != j)
    within_fake = sum(k(fake[i], fake[j]) for i in range(m) for j in range(m) if i != j)
    across = sum(k(x, y) for x in real for y in fake)
    return within_real / (n * (n - 1)) + within_fake / (m * (m - 1)) - 2.0 * across / (n * m)


@pytest.mark.parametrize(("n", "m", "d"), [(2, 2, 1), (2, 5, 3), (7, 4, 3), (12, 12, 20)])
def test_matches_a_double_loop(n, m, d):
    rng = np.random.default_rng(n)
    real, fake = rng.standard_normal((n, d)), rng.standard_normal((m, d)) + 0.5
    assert kernel_distance(real, fake).value == pytest.approx(double_loop(real, fake), rel=1e-11)


@pytest.mark.parametrize(("n", "d"), [(50, 3), (50, 454), (300, 64)])
def test_matches_torchmetrics(n, d):
    rng = np.random.default_rng(n)
    real, fake = rng.standard_normal((n, d)), 1.1 * rng.standard_normal((n, d)) + 0.1
    expected = float(poly_mmd(torch.from_numpy(real), torch.from_numpy(fake)))
    value = kernel_distance(torch.from_numpy(real), torch.from_numpy(fake)).value
    assert value == pytest.approx(expected, rel=1e-10)


def test_blocks_change_nothing():
    rng = np.random.default_rng(1)
    real = rng.standard_normal((BLOCK_ROWS + 100, 4))
    fake = rng.standard_normal((BLOCK_ROWS + 100, 4)) + 1.0
    expected = float(poly_mmd(torch.from_numpy(real), torch.from_numpy(fake)))
    assert kernel_distance(real, fake).value == pytest.approx(expected, rel=1e-10)
    few = real[:100]  # one block as rows, two as columns
    assert kernel_distance(few, fake) == pytest.approx(kernel_distance(fake, few), rel=1e-12)


def test_standard_error_matches_the_jackknife():
    rng = np.random.default_rng(2)
    real, fake = rng.standard_normal((60, 5)), rng.standard_normal((80, 5)) + 0.7
    variance = 0.0
    for which, count in enumerate((60, 80)):
        left_out = []
        for i in range(count):
            pair = [real, fake]
            pair[which] = np.delete(pair[which], i, axis=0)
            left_out.append(kernel_distance(*pair).value)
        variance += (count - 1) * np.var(left_out)
    standard_error = kernel_distance(real, fake).standard_error
    assert standard_error == pytest.approx(np.sqrt(variance), rel=0.05)


def population_value(real, fake):
    """Squared MMD between two finite populations (all pairs, own ones too)."""

    def mean_kernel(x, y):
        return ((x @ y.T / x.shape[1] + 1.0) ** 3).mean()

    return mean_kernel(real, real) + mean_kernel(fake, fake) - 2.0 * mean_kernel(real, fake)


@pytest.mark.parametrize(
    ("shift", "coverage", "error_ratio"),
    [
        pytest.param(0.0, (0.94, 1.0), (1.0, 2.0), id="same population: error too large"),
        pytest.param(0.5, (0.90, 0.99), (0.85, 1.25), id="different"),
        pytest.param(2.0, (0.90, 0.99), (0.85, 1.25), id="far apart"),
    ],
)
def test_unbiased_and_standard_error_covers(shift, coverage, error_ratio):
    rng = np.random.default_rng(3)
    real = rng.standard_normal((300, 6))
    fake = real if shift == 0.0 else 1.1 * rng.standard_normal((300, 6)) + shift
    truth = population_value(real, fake)
    draws = [
        kernel_distance(real[rng.integers(300, size=80)], fake[rng.integers(300, size=120)])
        for _ in range(400)
    ]
    values, errors = np.array(draws).T
    spread = values.std(ddof=1)
    assert abs(values.mean() - truth) < 4.0 * spread / np.sqrt(len(draws))
    covered = np.mean(np.abs(values - truth) < 1.96 * errors)
    assert coverage[0] <= covered <= coverage[1]
    assert error_ratio[0] <= np.sqrt(np.square(errors).mean()) / spread <= error_ratio[1]


def test_zero_and_constant_features():
    zero, one = np.zeros((4, 3)), np.ones((5, 3))
    assert kernel_distance(zero, zero) == (0.0, 0.0)
    # k(1, 1) = 8, k(0, ·) = 1: 1 + 8 - 2, and no sample differs from another
    assert kernel_distance(zero, one) == pytest.approx((7.0, 0.0), abs=1e-12)


@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (np.ones((1, 3)), np.ones((4, 3)), "at least 2 real images"),
        (np.ones((4, 3)), np.ones((4, 2)), "real features have 3 dimensions but fake ones 2"),
        (np.ones((4, 3)), np.full((4, 3), np.nan), "fake features of 4 of 4 images"),
        (np.full((4, 3), 1e60), np.ones((4, 3)), "too large"),
    ],
)
def test_refuses(real, fake, message):
    with pytest.raises(EvaluationError, match=message):
        kernel_distance(real, fake)
