"""The Fréchet distance against independent implementations and closed forms."""

import warnings

import numpy as np
import pytest
import scipy.linalg
import torch
from torchmetrics.image.fid import _compute_fid

from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics.frechet import (
    distance_between,
    fit_gaussian,
    frechet_distance,
    gaussian_from_moments,
)

SIZES = [
    pytest.param(d, n, id=f"d{d}-n{n}") for d in (3, 64, 454) for n in (max(2, d // 2), d, 2 * d)
]


def two_sets(d, n, seed=0):
    """Two Gaussian sets of different size, mean, spread and correlation."""
    rng = np.random.default_rng(seed)
    mix = 1.2 * rng.standard_normal((d, d)) / np.sqrt(d)
    return rng.standard_normal((n, d)), rng.standard_normal((n + 5, d)) @ mix + 0.3


def moments(features):
    return features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False))


def sqrtm_reference(real, fake):
    """The formula as first published (numpy moments, scipy's matrix square root)."""
    (mean1, cov1), (mean2, cov2) = moments(real), moments(fake)
    with warnings.catch_warnings():  # singular when there are fewer images than dimensions
        warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)
        root = scipy.linalg.sqrtm(cov1 @ cov2)
    return np.square(mean1 - mean2).sum() + np.trace(cov1 + cov2 - 2.0 * root.real)


@pytest.mark.parametrize(("d", "n"), SIZES)
def test_matches_scipy_and_torchmetrics(d, n):
    real, fake = two_sets(d, n)
    distance = frechet_distance(real, fake)
    # for n <= d the references take roots of zero eigenvalues with rounding: 1e-16 becomes 1e-8
    tolerance = 1e-11 if n > d else 1e-6
    assert distance == pytest.approx(sqrtm_reference(real, fake), rel=tolerance)
    pair = [torch.from_numpy(moment) for moment in (*moments(real), *moments(fake))]
    assert distance == pytest.approx(float(_compute_fid(*pair)), rel=tolerance)


def gesvd_reference(real, fake):
    """The formula by another SVD algorithm than ours, of whole centred sets; float64."""
    real_part, fake_part = (
        (rows - rows.mean(axis=0)) / np.sqrt(len(rows) - 1) for rows in (real, fake)
    )
    cross = scipy.linalg.svd(real_part @ fake_part.T, compute_uv=False, lapack_driver="gesvd").sum()
    traces = np.square(real_part).sum() + np.square(fake_part).sum()
    return np.square(real.mean(axis=0) - fake.mean(axis=0)).sum() + traces - 2.0 * cross, traces


@pytest.mark.parametrize("decay", [0.0, 1.0, 4.0, 9.0])
@pytest.mark.parametrize(
    ("n_real", "n_fake", "d"),
    [(30, 200, 300), (200, 30, 300), (200, 400, 30), (31, 300, 30), (150, 150, 100), (50, 50, 200)],
)
def test_every_route_is_exact_for_flat_and_steep_spectra(n_real, n_fake, d, decay):
    # wide and square, more and fewer images than dimensions; variances falling as k^-2·decay:
    # from 3 on, squaring loses the small ones, and the slow routes must be taken
    rng = np.random.default_rng(n_real)
    scales = np.arange(1.0, d + 1) ** -decay
    mix = np.linalg.qr(rng.standard_normal((d, d)))[0]
    real = rng.standard_normal((n_real, d)) * scales @ mix
    fake = (rng.standard_normal((n_fake, d)) * 1.2 + 0.1) * scales @ mix
    expected, traces = gesvd_reference(real, fake)
    assert frechet_distance(real, fake) == pytest.approx(expected, abs=1e-11 * traces)


@pytest.mark.parametrize("n", [40, 300])
def test_a_feature_that_never_varies_is_no_obstacle(n):
    real, fake = two_sets(60, n)
    real[:, 7], fake[:, 7] = 1.0, 1.5
    real[:, 8] = 0.0
    expected, traces = gesvd_reference(real, fake)
    assert frechet_distance(real, fake) == pytest.approx(expected, abs=1e-12 * traces)


@pytest.mark.parametrize(("d", "n"), SIZES)
def test_from_moments_agrees_with_features(d, n):
    real, fake = two_sets(d, n)
    from_moments = distance_between(
        gaussian_from_moments(*moments(real)), gaussian_from_moments(*moments(fake))
    )
    assert from_moments == pytest.approx(frechet_distance(real, fake), rel=1e-10)


@pytest.mark.parametrize(("n", "d"), [(2, 5), (20, 40), (40, 40), (200, 40)])
def test_scaled_copy_has_a_closed_form_at_every_rank(n, d):
    # fake = c·real: the covariances commute, so the trace term is (1 - c)² tr S, at any rank
    real = np.random.default_rng(n).standard_normal((n, d)) + 2.0
    mean, cov = moments(real)
    expected = 0.7**2 * (np.square(mean).sum() + np.trace(cov))
    assert frechet_distance(real, 0.3 * real) == pytest.approx(expected, rel=1e-12)


def test_disjoint_supports_have_no_shared_trace():
    rng = np.random.default_rng(3)
    real, fake = np.zeros((10, 30)), np.zeros((12, 30))
    real[:, :15], fake[:, 15:] = rng.standard_normal((10, 15)), rng.standard_normal((12, 15))
    (mean1, cov1), (mean2, cov2) = moments(real), moments(fake)
    expected = np.square(mean1 - mean2).sum() + np.trace(cov1) + np.trace(cov2)
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-12)


def test_one_dimension():
    rng = np.random.default_rng(4)
    real, fake = rng.normal(1.0, 2.0, (50, 1)), rng.normal(-1.0, 0.5, (70, 1))
    expected = (real.mean() - fake.mean()) ** 2 + (real.std(ddof=1) - fake.std(ddof=1)) ** 2
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-12)


def test_two_images_each():
    # each set spans one line: covariances vv'/2 and ww'/2 with tr (S1 S2)^½ = |v·w| / 2
    real = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    fake = np.array([[1.0, 0.0, 5.0], [1.0, 4.0, 5.0]])
    mean_term = 0.0 + 4.0 + 25.0
    assert frechet_distance(real, fake) == pytest.approx(mean_term + 2.0 + 8.0 - 0.0, rel=1e-12)


@pytest.mark.parametrize("n", [30, 300])
def test_mean_shift_only(n):
    real = np.random.default_rng(5).standard_normal((n, 60))
    shift = np.linspace(-1.0, 1.0, 60)
    expected = np.square(shift).sum()
    assert frechet_distance(real, real + shift) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize(("n", "d"), [(2, 3), (50, 100), (100, 50), (600, 454)])
def test_identical_sets_are_at_zero(n, d):
    real = np.random.default_rng(6).standard_normal((n, d)) * 3.0 + 1.0
    total_variance = real.var(axis=0, ddof=1).sum()
    assert 0.0 <= frechet_distance(real, real.copy()) <= 1e-12 * total_variance


@pytest.mark.parametrize("noise", [1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("n", [100, 500])
def test_near_identical_sets_keep_their_digits(noise, n):
    # a scaled copy again: exact, where a root of S1 S2 loses 1 % at such distances
    real = np.random.default_rng(7).standard_normal((n, 200))
    real -= real.mean(axis=0)
    expected = noise**2 * real.var(axis=0, ddof=1).sum()
    assert frechet_distance(real, (1.0 + noise) * real) == pytest.approx(expected, rel=1e-4)


def test_constant_and_zero_features():
    zero, constant = np.zeros((5, 4)), np.full((6, 4), 2.0)
    varied = np.random.default_rng(8).standard_normal((9, 4))
    assert frechet_distance(zero, zero) == 0.0
    assert frechet_distance(zero, constant) == pytest.approx(16.0, rel=1e-12)
    expected = np.square(varied.mean(axis=0)).sum() + varied.var(axis=0, ddof=1).sum()
    assert frechet_distance(varied, zero) == pytest.approx(expected, rel=1e-12)
    from_moments = distance_between(
        gaussian_from_moments(np.zeros(4), np.zeros((4, 4))),
        gaussian_from_moments(*moments(varied)),
    )
    assert from_moments == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scales_quadratically(scale):
    real, fake = two_sets(20, 50)
    expected = scale**2 * frechet_distance(real, fake)
    assert frechet_distance(scale * real, scale * fake) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n", [10, 100])
def test_symmetric_and_unchanged_by_rotation_shift_and_order(n, seed):
    rng = np.random.default_rng(seed)
    real, fake = two_sets(24, n, seed)
    distance = frechet_distance(real, fake)
    rotation, _ = np.linalg.qr(rng.standard_normal((24, 24)))
    assert frechet_distance(fake, real) == pytest.approx(distance, rel=1e-11)
    assert frechet_distance(real @ rotation, fake @ rotation) == pytest.approx(distance, rel=1e-11)
    assert frechet_distance(real + 7.0, fake + 7.0) == pytest.approx(distance, rel=1e-11)
    assert frechet_distance(rng.permutation(real), fake) == pytest.approx(distance, rel=1e-11)


def test_takes_tensors_of_other_dtypes_and_with_gradients():
    real, fake = (part.astype(np.float32) for part in two_sets(6, 20))
    expected = frechet_distance(real, fake)
    tensor = torch.from_numpy(real).requires_grad_()
    assert frechet_distance(tensor, torch.from_numpy(fake)) == expected
    half = frechet_distance(tensor.half(), torch.from_numpy(fake).half())
    assert half == pytest.approx(expected, rel=1e-2)


def test_takes_reversed_and_read_only_arrays():
    real, fake = two_sets(6, 20)
    real.flags.writeable = False
    assert frechet_distance(real[::-1], fake) == pytest.approx(frechet_distance(real, fake))


def test_fitted_statistics_can_be_kept():
    real, fake = two_sets(8, 30)
    kept = fit_gaussian(real)
    assert kept.factor.shape == (8, 8)
    assert kept.factor.T @ kept.factor == pytest.approx(moments(real)[1], abs=1e-12)
    assert distance_between(kept, fit_gaussian(fake)) == frechet_distance(real, fake)


GOOD = np.arange(12.0).reshape(4, 3)


@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (GOOD[:1], GOOD, "at least 2 real images but got 1"),
        (GOOD, GOOD[:0], "at least 2 fake images but got 0"),
        (GOOD, GOOD[:, :2], "real features have 3 dimensions but fake ones 2"),
        (GOOD, GOOD[0], r"\(images, dimensions\) but got \(3,\)"),
        (GOOD, GOOD[:, :0], r"\(images, dimensions\) but got \(4, 0\)"),
        (np.where(GOOD == 7, np.nan, GOOD), GOOD, "real features of 1 of 4.*first: image 2"),
        (GOOD, np.where(GOOD < 4, -np.inf, GOOD), "fake features of 2 of 4.*first: image 0"),
        (GOOD * 1e200, GOOD, "too large"),
    ],
)
def test_refuses(real, fake, message):
    with pytest.raises(EvaluationError, match=message):
        frechet_distance(real, fake)


def test_gaussians_of_different_dimensions_are_refused():
    message = "real features have 3 dimensions but fake ones 2"
    with pytest.raises(EvaluationError, match=message):
        distance_between(gaussian_from_moments(np.zeros(3), np.eye(3)), fit_gaussian(np.eye(2)))
