"""The law of the noise floor against simulations of Gaussian samples and known limits."""

import math

import numpy as np
import pytest

from dcgan.evaluation.metrics import sampling_bias
from dcgan.evaluation.metrics.frechet import distance_between, fit_gaussian
from dcgan.evaluation.metrics.sampling_bias import Spectrum, expected_distance, fitted_spectrum


def eigenvalues(spectrum):
    k = np.arange(1.0, spectrum.dimension + 1.0)
    power = k**-spectrum.decay / (k**-spectrum.decay).sum()
    shares = (1.0 - spectrum.flat) * power + spectrum.flat / spectrum.dimension
    return spectrum.total_variance * shares


def simulated(spectrum, n_first, n_second, draws, seed=0):
    """Mean distance of Gaussian samples and its standard error."""
    rng, scale = np.random.default_rng(seed), np.sqrt(eigenvalues(spectrum))
    distances = [
        distance_between(
            fit_gaussian(rng.standard_normal((n_first, len(scale))) * scale),
            fit_gaussian(rng.standard_normal((n_second, len(scale))) * scale),
        )
        for _ in range(draws)
    ]
    return np.mean(distances), np.std(distances, ddof=1) / math.sqrt(draws)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("decay", "flat"),
    [(0.0, 0.0), (1.0, 0.0), (1.5, 0.0), (2.0, 0.2)],
    ids=["flat", "k^-1", "k^-1.5", "k^-2 over a flat part"],
)
@pytest.mark.parametrize(
    ("d", "n_first", "n_second"),
    [(1, 20, 50), (10, 80, 80), (10, 40, 300), (60, 60, 60), (60, 20, 200), (100, 15, 15)],
)
def test_matches_simulated_samples(d, n_first, n_second, decay, flat):
    spectrum = Spectrum(3.0, d, decay, flat)
    mean, error = simulated(spectrum, n_first, n_second, 1500 if d == 1 else 150)
    for sizes in [(n_first, n_second), (n_second, n_first)]:
        assert abs(expected_distance(spectrum, *sizes) - mean) < 0.05 * mean + 4.0 * error
    assert error < 0.07 * mean


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (0.2, 0.2),
        (1.0, 0.1),
        (1.0, 1.0),
        (1.5, 0.5),
        (2.0, 1.5),
        (4.0, 0.5),
        (4.0, 4.0),
        (12.0, 3.0),
    ],
)
def test_overlap_of_flat_spectra(first, second):
    rng, d = np.random.default_rng(1), 200

    def factor(ratio):
        rows = rng.standard_normal((round(d / ratio), d)) / math.sqrt(d / ratio)
        return np.linalg.qr(rows, mode="r")

    def overlap():
        return np.linalg.svd(factor(first) @ factor(second).T, compute_uv=False).sum() / d

    expected = np.mean([overlap() for _ in range(4)])
    for pair in [(first, second), (second, first)]:
        value = sampling_bias._overlap(*(np.array([ratio]) for ratio in pair))
        assert value.item() == pytest.approx(expected, abs=0.008)


def test_large_samples_leave_nothing():
    spectrum = Spectrum(7.0, 50, 1.2, 0.1)
    distances = [expected_distance(spectrum, n, n) for n in (10**4, 10**6, 10**8)]
    # 1/n, intercept 0
    assert distances[0] / distances[1] == pytest.approx(100.0, rel=0.01)
    assert distances[1] / distances[2] == pytest.approx(100.0, rel=1e-4)
    one_sided = expected_distance(spectrum, 10**6, 10**12)
    assert one_sided == pytest.approx(distances[1] / 2.0, rel=1e-3)


def test_few_samples_saturate_at_both_variances():
    # two images each in a thousand dimensions: the lines they span are at right angles
    spectrum = Spectrum(1.0, 1000, 0.0, 0.0)
    mean_term = 1.0
    assert expected_distance(spectrum, 2, 2) - mean_term == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("decay", [0.0, 0.7, 2.5])
def test_groups_of_modes_are_fine_enough(decay):
    spectrum = Spectrum(1.0, 3000, decay, 0.1)
    grouped = [expected_distance(spectrum, 200, n) for n in (200, 3000)]
    values, counts = sampling_bias.grouped(spectrum)
    assert len(values) <= sampling_bias.MAX_GROUPS
    assert counts.sum() == 3000
    assert (counts * values).sum() == pytest.approx(1.0, rel=1e-12)
    assert len(sampling_bias.grouped(spectrum, 10**6)[0]) == 3000
    every = [expected_distance(spectrum, 200, n, groups=10**6) for n in (200, 3000)]
    assert grouped == pytest.approx(every, rel=2e-3)


@pytest.mark.parametrize("d", [1, 2, 3, 159, 160, 161])
def test_few_dimensions_are_not_grouped_wrongly(d):
    values, counts = sampling_bias.grouped(Spectrum(2.0, d, 1.3, 0.0))
    assert counts.sum() == d
    if d <= 3:
        np.testing.assert_allclose(2.0 * values, eigenvalues(Spectrum(2.0, d, 1.3, 0.0)))


@pytest.mark.parametrize(("decay", "flat"), [(0.8, 0.0), (1.5, 0.1), (2.2, 0.4)])
def test_fit_finds_the_spectrum_again(decay, flat):
    truth = Spectrum(5.0, 200, decay, flat)
    sizes = (100, 70, 50, 35, 25)
    means = np.array([expected_distance(truth, m, m) for m in sizes])
    fit = fitted_spectrum(sizes, means, 0.1 * means, 5.0, 200)
    assert fit[:2] == (5.0, 200)
    assert fit[2:] == pytest.approx((decay, flat), abs=0.01)


def test_fit_trusts_exact_means_more_than_noisy_ones():
    truth = Spectrum(5.0, 50, 1.0, 0.0)
    means = np.array([expected_distance(truth, m, m) for m in (40, 20, 10)])
    wrong = means * [1.0, 1.0, 1.5]
    fits = [
        fitted_spectrum((40, 20, 10), wrong, wrong * [0.01, 0.01, last], 5.0, 50)
        for last in (1.0, 0.01)
    ]
    errors = [
        abs(expected_distance(fit, 80, 80) / expected_distance(truth, 80, 80) - 1.0) for fit in fits
    ]
    assert errors[0] < 0.02 < errors[1]


def test_fit_of_one_size_and_of_nothing():
    truth = Spectrum(5.0, 50, 1.0, 0.0)
    mean = expected_distance(truth, 20, 20)
    fit = fitted_spectrum((20,), np.array([mean]), np.array([0.1]), 5.0, 50)
    np.testing.assert_allclose(fit, truth, atol=1e-4)
    nothing = fitted_spectrum((20, 10), np.zeros(2), np.zeros(2), 0.0, 1)
    assert expected_distance(nothing, 20, 10) == 0.0
