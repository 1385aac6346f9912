"""The interval of a Fréchet distance: its arithmetic, and how often it holds the mean."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics.frechet import (
    distance_between,
    fit_gaussian,
    frechet_distance,
    gaussian_from_moments,
)
from dcgan.evaluation.metrics.interval import frechet_interval


def two_sets(d=6, n=40, fakes=64, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)), 1.2 * rng.standard_normal((fakes, d)) + 0.3


def without_groups(real, fake, groups):
    """The distance without each group, straight from its definition."""
    member = np.arange(len(fake)) % groups
    return np.array([frechet_distance(real, fake[member != g]) for g in range(groups)])


@pytest.mark.parametrize(("d", "fakes", "groups"), [(6, 64, 16), (6, 64, 64), (80, 32, 4)])
def test_equal_groups_give_the_classical_jackknife(d, fakes, groups):
    real, fake = two_sets(d, fakes=fakes)
    left_out = without_groups(real, fake, groups)
    variance = (groups - 1) / groups * np.square(left_out - left_out.mean()).sum()
    interval = frechet_interval(real, fake, groups=groups)
    assert interval.value == frechet_distance(real, fake)
    assert interval.standard_error == pytest.approx(math.sqrt(variance), rel=1e-9)


@pytest.mark.parametrize("steepness", [0.0, 2.0, 6.0])
@pytest.mark.parametrize(("d", "n", "fakes"), [(40, 90, 300), (120, 50, 300), (40, 90, 30)])
def test_leaving_groups_out_by_subtraction_is_as_good_as_computing_anew(d, n, fakes, steepness):
    """Of steep spectra the squares' small eigenvalues drown; of few fakes there are only zeros."""
    rng = np.random.default_rng(1)
    scales = np.arange(1.0, d + 1.0) ** -steepness
    real = rng.standard_normal((n, d)) * scales + 100.0
    fake = 1.1 * rng.standard_normal((fakes, d)) * scales + 100.2
    left_out = without_groups(real, fake, 10)
    variance = 9 / 10 * np.square(left_out - left_out.mean()).sum()
    error = frechet_interval(real, fake, groups=10).standard_error
    assert error == pytest.approx(math.sqrt(variance), rel=1e-6)


def test_photos_without_any_variance_are_no_trouble():
    _, fake = two_sets()
    d = fake.shape[1]
    constant = gaussian_from_moments(np.zeros(d), np.zeros((d, d)))
    value, low, high, error = frechet_interval(constant, fake)
    assert value == pytest.approx(
        np.square(fake.mean(axis=0)).sum() + fake.var(axis=0, ddof=1).sum()
    )
    assert 0.0 < low < value < high
    assert error > 0.0


def test_unequal_groups_follow_busing_and_others():
    real, fake = two_sets(fakes=45)
    groups, count = 16, 45  # groups of two and of three
    left_out, value = without_groups(real, fake, groups), frechet_distance(real, fake)
    sizes = np.array([len(range(g, count, groups)) for g in range(groups)])
    h = count / sizes
    pseudo = h * value - (h - 1) * left_out
    estimate = groups * value - ((1 - sizes / count) * left_out).sum()
    variance = (np.square(pseudo - estimate) / (h - 1)).sum() / groups
    interval = frechet_interval(real, fake)
    assert interval.standard_error == pytest.approx(math.sqrt(variance), rel=1e-9)


@pytest.mark.parametrize("groups", [2, 16, 40])
def test_limits_are_a_factor_from_students_t(groups):
    real, fake = two_sets()
    result = frechet_interval(real, fake, groups=groups)
    t = scipy.stats.t.ppf(0.975, groups - 1)
    factor = math.exp(t * result.standard_error / result.value)
    assert result.low == pytest.approx(result.value / factor, rel=1e-12)
    assert result.high == pytest.approx(result.value * factor, rel=1e-12)
    assert 0.0 < result.low < result.value < result.high


def test_takes_the_gaussian_of_the_photos():
    real, fake = two_sets()
    assert frechet_interval(fit_gaussian(real), torch.from_numpy(fake)) == frechet_interval(
        real, fake
    )


def test_more_groups_than_fakes_means_one_fake_each():
    real, fake = two_sets(fakes=9)
    assert frechet_interval(real, fake, groups=16) == frechet_interval(real, fake, groups=9)


def test_three_fakes_are_enough():
    real, fake = two_sets(fakes=3)
    value, low, high, standard_error = frechet_interval(real, fake)
    assert value == frechet_distance(real, fake)
    assert 0.0 <= low < value < high < math.inf
    assert standard_error > 0.0


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scales_quadratically(scale):
    real, fake = two_sets()
    expected = scale**2 * np.array(frechet_interval(real, fake))
    np.testing.assert_allclose(
        frechet_interval(scale * real, scale * fake), expected, rtol=1e-9, atol=0.0
    )


@pytest.mark.parametrize(("n", "d"), [(40, 6), (20, 50)])
def test_fakes_that_are_the_photos_reach_down_to_zero(n, d):
    real, _ = two_sets(d, n)
    value, low, high, standard_error = frechet_interval(real, real.copy())
    variance = real.var(axis=0, ddof=1).sum()
    assert value <= 1e-12 * variance
    assert low == 0.0
    # leaving photos out does make a difference
    assert 1e-4 * variance < standard_error < high < variance


def test_constant_sets_have_no_error():
    zero, one = np.zeros((5, 3)), np.ones((7, 3))
    assert frechet_interval(zero, zero) == (0.0, 0.0, 0.0, 0.0)
    value, low, high, standard_error = frechet_interval(zero, one)
    assert (value, low, high) == pytest.approx((3.0, 3.0, 3.0), rel=1e-12)
    assert standard_error < 1e-12


def spectrum(kind, d):
    return np.ones(d) if kind == "flat" else np.arange(1.0, d + 1.0) ** -0.5


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["flat", "1/k"])
@pytest.mark.parametrize(
    ("d", "fakes"), [pytest.param(24, 16, id="n<d"), pytest.param(8, 60, id="n>d")]
)
def test_holds_the_mean_as_often_as_it_says(kind, d, fakes):
    """Fixed photos, 400 sets of fakes, a mean known from 1000 others."""
    rng = np.random.default_rng(d)
    scale = spectrum(kind, d)
    photos = fit_gaussian(rng.standard_normal((60, d)) * scale)

    def draw():
        return (1.1 * rng.standard_normal((fakes, d)) + 0.3) * scale

    mean = np.mean([distance_between(photos, fit_gaussian(draw())) for _ in range(1000)])
    intervals = np.array([frechet_interval(photos, draw()) for _ in range(400)])
    below, above = (intervals[:, 2] < mean).mean(), (intervals[:, 1] > mean).mean()
    # sampling error of a coverage of 95 % in 400 sets: 1.1 %
    assert 0.90 <= 1.0 - below - above <= 0.985
    # misses on both sides
    assert max(below, above) < 0.07
    assert min(below, above) > 0.0
    spread = intervals[:, 0].std(ddof=1)
    assert 0.85 < np.sqrt(np.square(intervals[:, 3]).mean()) / spread < 1.3


@pytest.mark.parametrize(("d", "fakes"), [(24, 16), (8, 60)])
def test_a_bootstrap_would_be_biased_upward(d, fakes):
    """Why fakes are left out and not drawn with replacement."""
    rng = np.random.default_rng(5)
    photos = fit_gaussian(rng.standard_normal((60, d)))
    values, resampled = [], []
    for _ in range(40):
        fake = 1.1 * rng.standard_normal((fakes, d)) + 0.3
        values.append(distance_between(photos, fit_gaussian(fake)))
        drawn = fake[rng.integers(fakes, size=(20, fakes))]
        resampled.append(np.mean([distance_between(photos, fit_gaussian(f)) for f in drawn]))
    raised = np.mean(resampled) / np.mean(values)
    error = np.std(np.array(resampled) / np.array(values), ddof=1) / math.sqrt(40)
    assert raised > 1.1
    assert raised - 1.0 > 5.0 * error


GOOD = np.arange(12.0).reshape(4, 3)


@pytest.mark.parametrize(
    ("real", "fake", "options", "message"),
    [
        (GOOD, GOOD[:2], {}, "at least 3 fake images but got 2"),
        (GOOD, GOOD[:1], {}, "at least 3 fake images but got 1"),
        (GOOD[:1], GOOD, {}, "at least 2 real images but got 1"),
        (GOOD, GOOD[:, :2], {}, "real features have 3 dimensions but fake ones 2"),
        (GOOD, np.where(GOOD == 7, np.nan, GOOD), {}, "fake features of 1 of 4"),
        (np.where(GOOD == 7, np.inf, GOOD), GOOD, {}, "real features of 1 of 4"),
        (GOOD, GOOD * 1e200, {}, "too large"),
        (GOOD, GOOD, {"groups": 1}, "at least 2 groups of fakes but got 1"),
    ],
)
def test_refuses(real, fake, options, message):
    with pytest.raises(EvaluationError, match=message):
        frechet_interval(real, fake, **options)
