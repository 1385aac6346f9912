"""The noise floor against fresh samples of known distributions."""

import math

import numpy as np
import pytest
import torch

from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics import floor
from dcgan.evaluation.metrics.floor import noise_floor, photo_halves, times_floor
from dcgan.evaluation.metrics.frechet import distance_between, fit_gaussian, frechet_distance
from dcgan.evaluation.metrics.manifold import precision_recall_density_coverage

SIZES = (30, 21, 15, 11, 8)


def sampler(kind, d, seed=0):
    """draw(n): n independent feature rows of one distribution."""
    rng = np.random.default_rng(seed)
    rank = np.arange(1.0, d + 1.0)
    scale = {"flat": np.ones(d), "k^-1": rank**-0.5, "k^-2": 1.0 / rank, "rectified": rank**-0.5}
    mix = np.random.default_rng(9).standard_normal((d, d)) / math.sqrt(d)

    def draw(n):
        rows = rng.standard_normal((n, d)) * scale[kind]
        return np.maximum(rows @ mix + 0.05, 0.0) if kind == "rectified" else rows

    return draw


def fresh_mean(draw, n_real, n_fake, draws=300):
    """Mean distance of fresh independent samples, and its standard error."""
    values = [
        distance_between(fit_gaussian(draw(n_real)), fit_gaussian(draw(n_fake)))
        for _ in range(draws)
    ]
    return np.mean(values), np.std(values, ddof=1) / math.sqrt(draws)


def over_floor(real, fake, repeats=16, seed=0):
    """The ratio, and the floor and the number of photos it is measured with."""
    halves = photo_halves(real, max(2, len(fake)), repeats=repeats, seed=seed)
    return times_floor(halves, fake, seed=seed), halves.floor, halves.size


def floors(draw, sets, n=60):
    return [noise_floor(draw(n), sizes=SIZES, seed=seed) for seed in range(sets)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["flat", "k^-1", "k^-2", "rectified"])
@pytest.mark.parametrize("d", [15, 60, 150], ids=["d<N", "d=N", "d>N"])
def test_predicts_what_fresh_samples_score(kind, d):
    """60 photos; sizes that were never measured, equal and unequal; averaged over data sets."""
    draw = sampler(kind, d)
    measured = floors(draw, sets=20 if kind == "k^-2" else 8)
    for sizes in [(60, 60), (60, 120), (60, 240), (30, 30)]:
        mean, error = fresh_mean(draw, *sizes, draws=120 if kind == "k^-2" else 50)
        predicted = [one.at(*sizes) for one in measured]
        error = math.hypot(error, np.std(predicted, ddof=1) / math.sqrt(len(predicted)))
        allowed = 0.13 if (kind, d) == ("k^-2", 150) else 0.07
        assert abs(np.mean(predicted) / mean - 1.0) < allowed + 3.0 * error / mean
        assert error < 0.07 * mean


def test_the_usual_polynomial_would_not():
    """Why the law is not b/m + c/m²: with more dimensions than photos that is far too low."""
    draw = sampler("k^-1", 180)
    mean, _ = fresh_mean(draw, 60, 120, draws=40)
    share = 1.0 / np.array(SIZES)
    polynomial, law = [], []
    for one in floors(draw, sets=5):
        terms, means = np.stack([share, share**2], axis=1), np.array(one.means)
        weights = 1.0 / np.array(one.spreads)
        b, c = np.linalg.lstsq(terms * weights[:, None], means * weights, rcond=None)[0]
        polynomial.append(np.mean([b / m + c / m**2 for m in (60, 120)]))
        law.append(one.at(60, 120))
    assert np.mean(polynomial) < 0.75 * mean
    assert np.mean(law) == pytest.approx(mean, rel=0.1)


def test_intercept_is_zero_in_the_data():
    """Distances of halves, fitted with b/m + c/m² and a free intercept where n is well above d."""
    photos = sampler("flat", 4)(4000)
    sizes = (2000, 1400, 1000, 700, 500, 350, 250)
    measured = noise_floor(photos, sizes=sizes, repeats=40)
    share = 1.0 / np.array(sizes)
    weights = math.sqrt(40) / np.array(measured.spreads)
    terms = np.stack([np.ones_like(share), share, share**2], axis=1) * weights[:, None]
    coefficients = np.linalg.lstsq(terms, np.array(measured.means) * weights, rcond=None)[0]
    error = math.sqrt(np.linalg.inv(terms.T @ terms)[0, 0])
    assert abs(coefficients[0]) < 3.0 * error
    # an intercept of a third of the smallest distance would be seen
    assert 3.0 * error < 0.7 * measured.means[0]
    assert measured.at(10**9, 10**9) < 1e-5 * measured.means[0]
    # and far outside of what was measured
    mean, error = fresh_mean(sampler("flat", 4, seed=1), 20_000, 20_000, draws=40)
    assert abs(measured.at(20_000, 20_000) - mean) < 0.1 * mean + 3.0 * error


def test_subsets_are_disjoint_and_of_the_sizes(monkeypatch):
    seen = []
    monkeypatch.setattr(floor, "fit_gaussian", lambda rows: seen.append(rows) or fit_gaussian(rows))
    photos = torch.arange(20.0, dtype=torch.float64).view(20, 1)
    measured = noise_floor(photos, repeats=3, sizes=[4, 10, 4])
    assert measured.sizes == (10, 4)
    pairs = list(zip(seen[::2], seen[1::2], strict=True))
    assert [len(first) for first, _ in pairs] == [10, 4] * 3
    for first, second in pairs:
        rows = torch.cat([first, second]).flatten().tolist()
        assert len(set(rows)) == 2 * len(first)
    assert len({tuple(first.flatten().tolist()) for first, _ in pairs}) == 6
    distances = np.array([frechet_distance(*pair) for pair in pairs]).reshape(3, 2)
    np.testing.assert_allclose(measured.means, distances.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(measured.spreads, distances.std(axis=0, ddof=1), rtol=1e-12)


def test_default_sizes_and_seed():
    photos = sampler("flat", 3)(65)
    measured = noise_floor(photos)
    assert measured.sizes == (32, 23, 16, 11, 8)
    assert measured == noise_floor(torch.from_numpy(photos))
    assert measured.means != noise_floor(photos, seed=1).means


@pytest.mark.parametrize("n", [4, 5, 6, 9])
def test_few_photos(n):
    measured = noise_floor(sampler("flat", 3)(n))
    assert measured.sizes[0] == n // 2
    assert measured.sizes[-1] == 2
    assert 0.0 < measured.at(2 * n, 2 * n) < measured.at(2, 2) < math.inf


def test_more_images_lower_the_floor():
    measured = noise_floor(sampler("k^-1", 40)(50))
    values = [measured.at(n, n) for n in (2, 10, 25, 50, 100, 10_000)]
    assert values == sorted(values, reverse=True)
    assert measured.at(50, 1000) == pytest.approx(measured.at(1000, 50), rel=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scales_quadratically(scale):
    photos = sampler("k^-1", 10)(40)
    plain, scaled = noise_floor(photos), noise_floor(scale * photos)
    np.testing.assert_allclose(scaled.means, scale**2 * np.array(plain.means), rtol=1e-9)
    assert scaled.at(40, 80) == pytest.approx(scale**2 * plain.at(40, 80), rel=1e-3)


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_constant_features_have_no_floor(value):
    measured = noise_floor(np.full((12, 3), value))
    assert measured.means == (0.0,) * len(measured.sizes)
    assert measured.at(12, 100) == 0.0


def test_constant_columns_do_not_count():
    photos = sampler("flat", 5)(40)
    padded = np.concatenate([photos, np.full((40, 300), 0.1)], axis=1)
    assert noise_floor(padded).spectrum.dimension == 5
    assert noise_floor(padded).at(40, 80) == pytest.approx(noise_floor(photos).at(40, 80), rel=1e-6)


@pytest.mark.parametrize(("kind", "d"), [("flat", 8), ("k^-1", 120)], ids=["n>d", "n<d"])
def test_times_floor_is_about_one_for_a_perfect_generator(kind, d):
    draw = sampler(kind, d)
    ratios = np.array([over_floor(draw(60), draw(100), seed=seed)[0] for seed in range(60)])
    error = ratios.std(ddof=1) / math.sqrt(len(ratios))
    assert abs(ratios.mean() - 1.0) < 3.0 * error + 0.01
    assert error < 0.03


CHANGES = {
    "too varied": lambda rows: 1.3 * rows,
    "too alike": lambda rows: 0.7 * rows,
    "shifted": lambda rows: rows + 0.4,
    "few images, repeated": lambda rows: rows[:10].repeat(10, axis=0),
}


@pytest.mark.parametrize(
    ("change", "d"),
    [(change, d) for change in CHANGES for d in (8, 120) if (change, d) != ("too alike", 120)],
)
def test_times_floor_is_above_one_for_others(change, d):
    draw = sampler("k^-1", d)
    ratios = [over_floor(draw(60), CHANGES[change](draw(100)), seed=seed)[0] for seed in range(10)]
    assert 1.03 < np.mean(ratios) < 50.0
    assert np.mean(ratios) - 1.0 > 3.0 * np.std(ratios, ddof=1) / math.sqrt(10)


def test_too_alike_scores_better_than_perfect_with_fewer_images_than_dimensions():
    """A trap of the distance itself, which the docstring warns of; recall is not fooled."""
    draw = sampler("k^-1", 120)
    sets = [(draw(60), draw(100)) for _ in range(10)]
    ratios = [over_floor(real, 0.7 * fake)[0] for real, fake in sets]
    assert 0.75 < np.mean(ratios) < 0.9
    recall = [
        np.mean([precision_recall_density_coverage(real, c * fake).recall for real, fake in sets])
        for c in (1.0, 0.7)
    ]
    assert recall[0] > 0.85
    assert recall[1] < 0.2


def test_times_floor_compares_equal_sizes():
    draw = sampler("flat", 6)
    real, fake = draw(41), draw(100) + 0.5
    ratio, floor, size = over_floor(real, fake, repeats=200)
    assert size == 20
    # by other random choices of the same sizes
    rng = np.random.default_rng(1)
    distances = [
        frechet_distance(rng.permutation(real)[:20], rng.permutation(fake)[:20]) for _ in range(200)
    ]
    assert ratio * floor == pytest.approx(np.mean(distances), rel=0.1)
    assert (ratio, floor, size) == over_floor(real, fake, repeats=200)
    assert ratio != over_floor(real, fake, repeats=200, seed=1)[0]


def test_times_floor_with_few_fakes():
    draw = sampler("flat", 3)
    assert over_floor(draw(40), draw(7))[2] == 7
    assert over_floor(draw(4), draw(2))[2] == 2
    copies = draw(40)
    # a generator that repeats the photos themselves is no farther than the photos are
    assert over_floor(copies, copies)[0] < 1.1


def test_photos_that_are_all_alike_have_no_floor():
    assert over_floor(np.ones((8, 3)), GOOD)[0] is None


GOOD = np.arange(24.0).reshape(8, 3)


@pytest.mark.parametrize(
    ("features", "options", "message"),
    [
        (GOOD[:3], {}, "needs at least 4 real images but got 3"),
        (GOOD[0], {}, r"shape \(images, dimensions\)"),
        (np.where(GOOD == 7, np.nan, GOOD), {}, "real features of 1 of 8"),
        (GOOD * 1e200, {}, "too large"),
        (GOOD, {"repeats": 1}, "repeats must be at least 2 but got 1"),
        (GOOD, {"sizes": [5]}, r"from 2 to 4 with so many photos but got \(5,\)"),
        (GOOD, {"sizes": [3, 1]}, r"from 2 to 4 with so many photos but got \(3, 1\)"),
        (GOOD, {"sizes": []}, r"from 2 to 4 with so many photos but got \(\)"),
    ],
)
def test_noise_floor_refuses(features, options, message):
    with pytest.raises(EvaluationError, match=message):
        noise_floor(features, **options)


@pytest.mark.parametrize(
    ("real", "fake", "options", "message"),
    [
        (GOOD[:3], GOOD, {}, "needs at least 4 real images but got 3"),
        (GOOD, GOOD[:1], {}, "at least 2 fake images but got 1"),
        (GOOD, GOOD[:, :2], {}, "real features have 3 dimensions but fake ones 2"),
        (GOOD, np.where(GOOD == 7, np.inf, GOOD), {}, "fake features of 1 of 8"),
        (GOOD, GOOD, {"repeats": 0}, "repeats must be at least 1 but got 0"),
    ],
)
def test_times_floor_refuses(real, fake, options, message):
    with pytest.raises(EvaluationError, match=message):
        over_floor(real, fake, **options)


@pytest.mark.parametrize("sizes", [(1, 10), (10, 1), (0, 0)])
def test_a_floor_of_single_images_is_refused(sizes):
    with pytest.raises(EvaluationError, match="at least 2 images on either side"):
        noise_floor(GOOD).at(*sizes)
