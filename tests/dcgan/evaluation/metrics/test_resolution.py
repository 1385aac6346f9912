"""What difference can be seen, against fresh samples and closed forms."""

import math

import numpy as np
import pytest
import torch

from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics import resolution
from dcgan.evaluation.metrics.frechet import distance_between, fit_gaussian
from dcgan.evaluation.metrics.resolution import resolvable_difference


def photos(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


@pytest.mark.slow
@pytest.mark.parametrize("score", [0.2, 20.0])
@pytest.mark.parametrize(("d", "sizes"), [(4, (30, 15)), (40, (20, 10))], ids=["n>d", "n<d"])
def test_spread_is_that_of_fresh_samples(d, sizes, score):
    rng, shift = np.random.default_rng(1), np.zeros(d)
    shift[0] = math.sqrt(score)
    # averaged over data sets, because one set's spread is known to some 10 % only
    spreads = np.mean(
        [
            resolvable_difference(photos(120, d, seed), score, repeats=48, sizes=sizes).spreads
            for seed in range(12)
        ],
        axis=0,
    )
    for size, spread in zip(sizes, spreads, strict=True):
        fresh = [
            distance_between(
                fit_gaussian(rng.standard_normal((size, d))),
                fit_gaussian(rng.standard_normal((size, d)) + shift),
            )
            for _ in range(600)
        ]
        assert spread == pytest.approx(np.std(fresh, ddof=1), rel=0.15)


def test_table_and_answer_follow_the_definition():
    result = resolvable_difference(photos(600, 3), 30.0, repeats=300)
    assert result.sizes == (200, 141, 100, 71, 50)
    expected = 1.96 * math.sqrt(2.0) * np.array(result.spreads) / 30.0
    np.testing.assert_allclose(result.differences, expected, rtol=1e-12)
    # far apart with S = 1, the means decide: |shift + noise|² has the variance 4 · score · 2/m
    spreads = np.sqrt(8.0 * 30.0 / np.array(result.sizes))
    np.testing.assert_allclose(result.spreads, spreads, rtol=0.15)
    images = 8.0 * 30.0 * (1.96 * math.sqrt(2.0) / (0.05 * 30.0)) ** 2
    assert result.images == pytest.approx(images, rel=0.1)
    assert result.difference == 0.05


@pytest.mark.slow
def test_answer_agrees_with_the_table_where_both_reach():
    features = photos(800, 6)
    table = resolvable_difference(features, 2.0, repeats=200)
    for size, difference in zip(table.sizes, table.differences, strict=True):
        answer = resolvable_difference(features, 2.0, repeats=200, difference=difference)
        assert answer.images == pytest.approx(size, rel=0.25)


def test_parts_are_disjoint(monkeypatch):
    seen, mixed = [], []
    monkeypatch.setattr(
        resolution, "fit_gaussian", lambda rows: seen.append(rows) or fit_gaussian(rows)
    )

    def no_shift(rows, weights, score):
        assert len(rows) == len(weights)
        mixed.append(rows)
        return torch.zeros(1, dtype=torch.float64)

    monkeypatch.setattr(resolution, "_shift", no_shift)
    rows = torch.arange(20.0, dtype=torch.float64).view(20, 1)
    assert resolvable_difference(rows, 1.0, repeats=3, sizes=[4, 6]).sizes == (6, 4)
    fakes, real = seen[::2], seen[1::2]
    assert [len(part) for part in fakes] == [len(part) for part in real] == [6, 4] * 3
    for index, rest in enumerate(part for part in mixed for _ in range(2)):
        assert len(rest) == 8
        everything = torch.cat([fakes[index], real[index], rest]).flatten().tolist()
        assert len(set(everything)) == len(everything)


@pytest.mark.parametrize(("a", "b"), [(2.0, 0.0), (2.0, 50.0), (0.5, 400.0), (2.0, -10.0)])
def test_size_solves_the_fitted_variance(a, b):
    sizes = (100, 50, 20)
    variances = np.array([a / m + b / m**2 for m in sizes])
    for wanted in (0.5, 0.05, 0.003):
        images = resolution._images(sizes, variances, a, wanted)
        # the law is never below its first part
        law = [a / m + max(b, 0.0) / m**2 for m in (images - 1, images)]
        assert law[1] <= wanted * (1.0 + 1e-12) < law[0] * (1.0 + 1e-9)
    assert resolution._images(sizes, np.zeros(3), a, 0.25) == math.ceil(4.0 * a)


def test_finer_differences_and_lower_scores_need_more():
    features = photos(100, 20)
    by_difference = [
        resolvable_difference(features, 5.0, difference=d).images for d in (0.5, 0.1, 0.05, 0.01)
    ]
    by_score = [resolvable_difference(features, s).images for s in (500.0, 50.0, 5.0, 0.5, 0.05)]
    for images in (by_difference, by_score):
        assert images == sorted(images)
        assert images[-1] > 20 * images[0]
    assert resolvable_difference(features, 1e9, difference=100.0).images == 2


def test_shift_has_the_datas_covariance_and_the_scores_length():
    scale = torch.tensor([3.0, 1.0, 0.0], dtype=torch.float64)
    rows = torch.from_numpy(photos(200, 3)) * scale + 100.0
    weights = torch.from_numpy(photos(4000, 200, seed=1))
    shifts = torch.stack([resolution._shift(rows, one, 4.0) for one in weights])
    np.testing.assert_allclose(shifts.square().sum(dim=1), 4.0, rtol=1e-12)
    assert (shifts[:, 2].abs() < 1e-9).all()
    # a direction (3a, b) over its length: E cos² = 3/(3 + 1) for standard deviations 3 and 1
    assert (shifts[:, 0].square() / 4.0).mean() == pytest.approx(0.75, abs=0.03)
    assert abs(shifts[:, 0].mean()) < 0.15


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_do_not_matter(scale):
    features = photos(40, 5)
    plain = resolvable_difference(features, 0.3)
    scaled = resolvable_difference(scale * features, scale**2 * 0.3)
    np.testing.assert_allclose(scaled.differences, plain.differences, rtol=1e-6)
    assert scaled.images == pytest.approx(plain.images, rel=1e-5)


def test_seed():
    features = photos(40, 5)
    first = resolvable_difference(features, 0.3)
    assert first == resolvable_difference(torch.from_numpy(features), 0.3)
    assert first.spreads != resolvable_difference(features, 0.3, seed=1).spreads


GOOD = np.arange(24.0).reshape(8, 3)


@pytest.mark.parametrize(
    ("features", "score", "options", "message"),
    [
        (GOOD, 0.0, {}, "score to resolve must be above 0 but got 0.0"),
        (GOOD, math.nan, {}, "score to resolve must be above 0 but got nan"),
        (GOOD, math.inf, {}, "score to resolve must be above 0 but got inf"),
        (GOOD, 1.0, {"difference": -0.1}, "difference to resolve must be above 0 but got -0.1"),
        (GOOD[:5], 1.0, {}, "needs at least 6 real images but got 5"),
        (GOOD, 1.0, {"repeats": 1}, "repeats must be at least 2"),
        (GOOD, 1.0, {"sizes": [3]}, r"from 2 to 2 .* but got \(3,\)"),
        (np.ones((8, 3)), 1.0, {}, "all alike"),
        (np.where(GOOD == 7, np.nan, GOOD), 1.0, {}, "real features of 1 of 8"),
    ],
)
def test_refuses(features, score, options, message):
    with pytest.raises(EvaluationError, match=message):
        resolvable_difference(features, score, **options)
