"""Streaming moments against numpy's on the whole set, however it is cut into batches."""

import numpy as np
import pytest
import torch

from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics.frechet import StreamingMoments, distance_between, fit_gaussian


def correlated(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + np.linspace(-2.0, 3.0, d)


def streamed(features, *cuts):
    moments = StreamingMoments(features.shape[1])
    for batch in np.split(features, cuts):
        moments.add(batch)
    return moments


@pytest.mark.parametrize(
    ("n", "d"), [(2, 1), (2, 5), (12, 30), (30, 30), (100, 30), (5000, 6)], ids=str
)
@pytest.mark.parametrize("batches", [1, 2, 7])
def test_matches_numpy(n, d, batches):
    features = correlated(n, d)
    # uneven batches, and with n = 2 empty ones and single images
    moments = streamed(features, *np.linspace(0, n, batches + 1).astype(int)[1:-1])
    assert moments.count == n
    scale = np.abs(features).max()
    np.testing.assert_allclose(moments.mean, features.mean(axis=0), rtol=0.0, atol=1e-14 * scale)
    covariance = np.atleast_2d(np.cov(features, rowvar=False))
    np.testing.assert_allclose(moments.covariance, covariance, rtol=0.0, atol=2e-14 * scale**2)
    assert moments.mean.dtype == moments.covariance.dtype == torch.float64
    assert torch.equal(moments.covariance, moments.covariance.T)


@pytest.mark.parametrize("offset", [1e6, -1e6])
def test_keeps_its_digits_far_from_zero(offset):
    # quarters are exact in float64 even after the offset, so both sides describe the same numbers
    features = np.random.default_rng(1).integers(-40, 40, (300, 5)) / 4.0
    expected = np.cov(features, rowvar=False)
    moments = streamed(features + offset, 1, 2, 150, 299)
    np.testing.assert_allclose(moments.covariance, expected, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(moments.mean - offset, features.mean(axis=0), rtol=0.0, atol=1e-9)
    # what a sum of squares would leave of it
    shifted = features + offset
    naive = (shifted.T @ shifted - 300 * np.outer(shifted.mean(0), shifted.mean(0))) / 299
    assert np.abs(naive - expected).max() > 1e-4


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scales(scale):
    features = correlated(50, 4)
    expected = scale**2 * streamed(features, 20).covariance
    np.testing.assert_allclose(
        streamed(scale * features, 20).covariance, expected, rtol=1e-10, atol=1e-13 * scale**2
    )


@pytest.mark.parametrize("value", [0.0, 3.0, 1e6])
def test_constant_features_have_no_variance(value):
    moments = streamed(np.full((9, 3), value), 4)
    assert torch.equal(moments.mean, torch.full((3,), value, dtype=torch.float64))
    assert torch.equal(moments.covariance, torch.zeros((3, 3), dtype=torch.float64))


def test_near_identical_rows():
    # the last digits of 1: a step of 2^-40 survives because rows are centred first
    features = np.ones((4, 1))
    features[2:] += 2.0**-40
    assert float(streamed(features, 1, 3).covariance) == pytest.approx(2.0**-80 / 3.0, rel=1e-3)


@pytest.mark.parametrize(("n", "d"), [(20, 30), (30, 30), (200, 30)], ids=str)
def test_gaussian_gives_the_distance_of_the_features(n, d):
    real, fake = correlated(n, d), correlated(n + 9, d, seed=1)
    expected = distance_between(fit_gaussian(real), fit_gaussian(fake))
    distance = distance_between(streamed(real, 7).gaussian(), streamed(fake, 3, 11).gaussian())
    assert distance == pytest.approx(expected, rel=1e-10)


def test_takes_float32_tensors_and_empty_batches():
    features = torch.arange(12, dtype=torch.float32).view(4, 3)
    moments = StreamingMoments(3)
    moments.add(features[:0])
    assert moments.count == 0
    moments.add(features.requires_grad_())
    np.testing.assert_allclose(moments.covariance, np.full((3, 3), 15.0), rtol=1e-14)


def test_given_out_moments_do_not_change():
    moments = streamed(correlated(10, 3))
    mean, covariance = moments.mean, moments.covariance
    kept_mean, kept_covariance = mean.clone(), covariance.clone()
    moments.add(correlated(5, 3, seed=2))
    mean += 1.0
    assert torch.equal(mean - 1.0, kept_mean + 1.0 - 1.0)
    assert torch.equal(covariance, kept_covariance)
    assert not torch.equal(moments.covariance, kept_covariance)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (np.zeros((4, 2)), r"shape \(images, 3\) but got \(4, 2\)"),
        (np.zeros(3), r"shape \(images, 3\) but got \(3,\)"),
        (np.array([[0.0, np.nan, 0.0]]), "NaN or infinite"),
        (np.array([[0.0, 0.0, -np.inf]]), "NaN or infinite"),
        (np.full((1, 3), 1e200), "too large"),
    ],
)
def test_a_refused_batch_changes_nothing(batch, message):
    moments = streamed(correlated(10, 3))
    before = (moments.count, moments.mean, moments.covariance)
    with pytest.raises(EvaluationError, match=message):
        moments.add(batch)
    assert moments.count == before[0]
    assert torch.equal(moments.mean, before[1])
    assert torch.equal(moments.covariance, before[2])


def test_refuses_too_few_images():
    with pytest.raises(EvaluationError, match="at least 1 dimension but got 0"):
        StreamingMoments(0)
    moments = StreamingMoments(2)
    with pytest.raises(EvaluationError, match="at least 1 images but 0 were added"):
        _ = moments.mean
    moments.add(np.ones((1, 2)))
    assert moments.mean.tolist() == [1.0, 1.0]
    for ask in (lambda: moments.covariance, moments.gaussian):
        with pytest.raises(EvaluationError, match="at least 2 images but 1 were added"):
            ask()
