"""Precision, recall, density, coverage against the papers' definitions written out slowly."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch_fidelity.metric_prc import calculate_precision_recall_full

from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics.manifold import ManifoldScores, precision_recall_density_coverage
from dcgan.evaluation.metrics.neighbours import BLOCK_NUMBERS


def distance(x, y):
    return math.sqrt(math.fsum((a - b) ** 2 for a, b in zip(x, y, strict=True)))


def radius(sample, index, k):
    """NND_k: how far the k-th nearest other sample is."""
    others = [distance(sample[index], x) for i, x in enumerate(sample) if i != index]
    return sorted(others)[k - 1]


def by_definition(real, fake, k):
    real, fake = real.tolist(), fake.tolist()
    real_radii = [radius(real, i, k) for i in range(len(real))]
    fake_radii = [radius(fake, j, k) for j in range(len(fake))]

    def in_real_ball(y, i):
        return distance(y, real[i]) <= real_radii[i]

    n, m = len(real), len(fake)
    precision = sum(any(in_real_ball(y, i) for i in range(n)) for y in fake) / m
    recall = sum(any(distance(x, fake[j]) <= fake_radii[j] for j in range(m)) for x in real) / n
    density = sum(in_real_ball(y, i) for y in fake for i in range(n)) / (k * m)
    coverage = sum(any(in_real_ball(y, i) for y in fake) for i in range(n)) / n
    return ManifoldScores(precision, recall, density, coverage)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize(
    ("n", "m", "d", "k"),
    [(2, 2, 3, 1), (3, 9, 1, 2), (9, 3, 2, 2), (30, 40, 2, 5), (40, 30, 30, 3), (25, 25, 80, 24)],
)
def test_matches_the_definitions(n, m, d, k, scale):
    rng = np.random.default_rng(n + d)
    real = scale * rng.standard_normal((n, d))
    fake = scale * (0.9 * rng.standard_normal((m, d)) + 0.4)
    scores = precision_recall_density_coverage(real, fake, k)
    assert scores == pytest.approx(by_definition(real, fake, k), rel=1e-13, abs=1e-13)


def test_the_definitions_are_told_apart():
    # so that the comparison above cannot pass with two of them exchanged
    rng = np.random.default_rng(1)
    real, fake = rng.standard_normal((60, 2)), 0.4 * rng.standard_normal((80, 2)) + 0.8
    scores = precision_recall_density_coverage(real, fake)
    assert len({round(score, 2) for score in scores}) == 4
    assert precision_recall_density_coverage(fake, real).recall == scores.precision


@pytest.mark.parametrize(("n", "m", "d", "k"), [(60, 80, 5, 3), (200, 150, 64, 5)])
def test_precision_and_recall_match_torch_fidelity(n, m, d, k):
    rng = np.random.default_rng(n)
    real = torch.from_numpy(rng.standard_normal((n, d)))
    fake = torch.from_numpy(0.8 * rng.standard_normal((m, d)) + 0.2)
    # there the fakes come first
    expected = calculate_precision_recall_full(fake, real, neighborhood=k)
    scores = precision_recall_density_coverage(real, fake, k)
    assert 0.0 < scores.recall < scores.precision
    assert scores[:2] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("d", [1, 8])
@pytest.mark.parametrize("k", [1, 5])
def test_a_perfect_generator_scores_as_the_docstring_says(k, d):
    rng, n = np.random.default_rng(2), 150
    draws = np.array(
        [precision_recall_density_coverage(*rng.standard_normal((2, n, d)), k) for _ in range(60)]
    )
    missed = math.prod((n - i) / (2 * n - i) for i in range(1, k + 1))
    for column, expected in [(2, 1.0), (3, 1.0 - missed)]:
        error = draws[:, column].std(ddof=1) / math.sqrt(len(draws))
        assert abs(draws[:, column].mean() - expected) < 4.0 * error
    assert 1.0 - missed == pytest.approx(1.0 - 0.5**k, abs=0.01)


def test_mode_dropping_lowers_diversity_only():
    rng = np.random.default_rng(3)
    real = rng.standard_normal((200, 2)) + np.repeat([[0.0, 0.0], [30.0, 0.0]], 100, axis=0)
    fake = rng.standard_normal((200, 2))
    scores = precision_recall_density_coverage(real, fake)
    assert scores.precision > 0.9
    assert 0.4 < scores.recall < 0.5
    assert 0.4 < scores.coverage < 0.51
    assert 0.8 < scores.density < 1.2


def test_bad_images_lower_fidelity_only():
    rng = np.random.default_rng(4)
    real, fake = rng.standard_normal((2, 200, 2))
    fake[::2] += 1000.0
    scores = precision_recall_density_coverage(real, fake)
    assert 0.4 < scores.precision <= 0.5
    assert 0.4 < scores.density < 0.6
    assert scores.coverage > 0.7


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_copies_of_the_photos(offset):
    # a photo's copy is at the centre of its ball, and one on the rim is inside
    real = np.random.default_rng(5).integers(-99, 99, (40, 6)) / 64.0 + offset
    scores = precision_recall_density_coverage(real, real[::-1].copy(), k=3)
    # each ball holds its centre and the three it reaches to
    assert scores == (1.0, 1.0, pytest.approx(4.0 / 3.0, rel=1e-12), 1.0)


def test_near_copies_count_only_within_the_ball():
    # every photo twice, so balls (k = 1) are points: exact copies are inside, others not
    photos = np.random.default_rng(6).standard_normal((20, 5)) + 1e3
    real = np.concatenate([photos, photos])
    assert precision_recall_density_coverage(real, photos, k=1).precision == 1.0
    near = photos.copy()
    near[::2, 0] += 1e-9
    scores = precision_recall_density_coverage(real, near, k=1)
    assert scores.precision == 0.5
    assert scores.coverage == 0.5
    assert scores.density == 1.0  # half of the fakes, in two balls each


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_a_generator_that_always_makes_the_same_image(value):
    real = np.random.default_rng(7).standard_normal((50, 3))
    fake = np.full((30, 3), value)
    scores = precision_recall_density_coverage(real, fake)
    assert scores.recall == 0.0
    assert scores.precision in (0.0, 1.0)
    fake[:] = real[11]
    assert precision_recall_density_coverage(real, fake).recall == 1.0 / 50.0


def test_both_sets_constant():
    same, other = np.zeros((8, 2)), np.ones((9, 2))
    # density: all 8 balls, over k = 5
    assert precision_recall_density_coverage(same, same) == (1.0, 1.0, 8.0 / 5.0, 1.0)
    assert precision_recall_density_coverage(same, other) == (0.0, 0.0, 0.0, 0.0)


def test_several_blocks_follow_the_definitions():
    rng = np.random.default_rng(8)
    real, fake = rng.standard_normal((2200, 4)), 0.7 * rng.standard_normal((2100, 4))
    assert len(real) * len(fake) > BLOCK_NUMBERS
    k = 5
    real_radii = np.sort(cdist(real, real), axis=1)[:, k]
    fake_radii = np.sort(cdist(fake, fake), axis=1)[:, k]
    across = cdist(real, fake)
    in_real = across <= real_radii[:, None]
    assert precision_recall_density_coverage(real, fake, k) == pytest.approx(
        (
            in_real.any(axis=0).mean(),
            (across <= fake_radii).any(axis=1).mean(),
            in_real.sum() / (k * len(fake)),
            in_real.any(axis=1).mean(),
        ),
        rel=1e-12,
    )


GOOD = np.arange(18.0).reshape(6, 3)


@pytest.mark.parametrize(
    ("real", "fake", "k", "message"),
    [
        (GOOD[:5], GOOD, 5, r"less than .* \(5 in the smaller one\) but got 5"),
        (GOOD, GOOD[:5], 5, r"less than .* \(5 in the smaller one\) but got 5"),
        (GOOD, GOOD, 0, "at least 1 and less than .* but got 0"),
        (GOOD[:1], GOOD, 1, "at least 2 real images but got 1"),
        (GOOD, GOOD[:, :2], 1, "real features have 3 dimensions but fake ones 2"),
        (np.where(GOOD == 7, np.nan, GOOD), GOOD, 1, "real features of 1 of 6"),
        (GOOD, np.where(GOOD == 7, np.inf, GOOD), 1, "fake features of 1 of 6"),
        (GOOD * 1e200, GOOD, 1, "too large"),
    ],
)
def test_refuses(real, fake, k, message):
    with pytest.raises(EvaluationError, match=message):
        precision_recall_density_coverage(real, fake, k)
