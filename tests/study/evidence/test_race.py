"""Standings of races whose truth is known, and an independent posterior by brute force."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from study.evidence import race
from study.evidence.race import FEWEST_SEEDS, Noise, Standings
from study.evidence.seeds import BEFOREHAND, SHARES

TRIALS = [True, True, True, False, False]
NOISE = Noise(spread=0.15, weight=4.0)


def stand(scores: Sequence[Sequence[float]], *more: Any, **named: Any) -> Standings:
    """Of configs that train on the same seeds, as far as they have come."""
    return race.stand([dict(enumerate(values)) for values in scores], *more, **named)


def by_brute_force(scores: list[list[float]], noise: Noise) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread of each trial's mean: importance sampling from the priors, in float64.

    It draws means from the model itself and weights them by the likelihood of the scores; nothing
    is conditioned analytically.
    """
    rng = np.random.default_rng(11)
    count, middle = 2_000_000, float(np.mean(np.log(np.concatenate(scores))))
    sigma = np.sqrt(noise.weight * noise.spread**2 / rng.chisquare(noise.weight, count))
    scatter = np.abs(rng.standard_cauchy(count)) * race.SCATTER_SCALE
    kept = (scatter > race.SCATTERS[0]) & (scatter < race.SCATTERS[-1])
    sigma, scatter = sigma[kept], scatter[kept]
    centre = middle + rng.uniform(-1.5, 1.5, len(sigma))
    means = centre[:, None] + scatter[:, None] * rng.standard_normal((len(sigma), len(scores)))
    share = rng.choice(SHARES, len(sigma), p=BEFOREHAND)
    seeds = max(map(len, scores))
    effects = np.sqrt(share)[:, None] * sigma[:, None] * rng.standard_normal((len(sigma), seeds))
    own = sigma * np.sqrt(1 - share)
    log_weights = np.zeros(len(sigma))
    for config, values in enumerate(scores):
        for seed, value in enumerate(np.log(values)):
            left = value - means[:, config] - effects[:, seed]
            log_weights -= 0.5 * (left / own) ** 2 + np.log(own)
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    expected = weights @ means
    return expected, np.sqrt(weights @ (means - expected) ** 2)


def test_the_draws_are_those_of_the_model() -> None:
    scores = [[100.0, 118.0], [125.0, 105.0, 121.0], [160.0, 133.0]]
    expected, spread = by_brute_force(scores, NOISE)
    draws = stand(scores, [True] * 3, [True] * 3, NOISE).draws
    assert draws.mean(axis=0) == pytest.approx(expected, abs=0.012)
    assert draws.std(axis=0) == pytest.approx(spread, rel=0.08)


def test_what_seeds_do_to_all_cancels_between_configs() -> None:
    """The same differences, once within each seed and once between all trainings."""
    bad = np.array([0.0, 0.3, -0.25, 0.1, -0.15, 0.0])
    own = np.array([[0.02, -0.01, 0.0, -0.02, 0.01, 0.0], [-0.01, 0.02, 0.01, 0.0, -0.02, 0.0]])
    means = np.array([[4.0], [4.1]])
    shared = np.exp(means + bad + own)
    dealt = shared.copy()
    dealt[1] = np.exp(means[1] + np.roll(bad, 2) + own[1])
    one, two = (stand(it.tolist(), [True] * 2, [False] * 2, NOISE) for it in (shared, dealt))
    assert one.beyond(1, 0).low > 1.0
    assert two.beyond(1, 0).low < 0.95
    # What each is expected to score on other seeds is as uncertain in both.
    wide = [it.expected(0).high / it.expected(0).low for it in (one, two)]
    assert wide[0] == pytest.approx(wide[1], rel=0.12)


def test_the_best_looking_trial_is_expected_to_be_less_good() -> None:
    scores = [[80.0, 84.0], [100.0, 104.0], [99.0, 101.0], [79.0, 85.0]]
    found = stand(scores, [True] * 4, [True, True, True, False], NOISE)
    assert 82.0 * 1.01 < found.expected(0).value < 95.0
    # The baseline has the same scores, and nobody picked it.
    assert found.expected(3).value == pytest.approx(math.sqrt(79.0 * 85.0), rel=0.01)
    assert found.beyond(0, 1).value < 1 < found.beyond(1, 0).value
    assert found.beyond(0, 1).value == pytest.approx(1 / found.beyond(1, 0).value)


def test_who_leads_who_is_hopeless_and_when_it_is_over() -> None:
    clear = stand([[50.0, 51.0], [90.0, 88.0], [200.0, 210.0]], [True] * 3, [True] * 3, NOISE)
    assert clear.leader == 0
    assert clear.decided
    assert clear.hopeless() == [1, 2]
    open_ = stand([[100.0, 130.0], [135.0, 101.0], [130.0, 128.0]], [True] * 3, [True] * 3, NOISE)
    assert not open_.decided
    assert open_.hopeless() == []
    assert open_.best.sum() == pytest.approx(1.0)
    left = stand([[50.0, 51.0], [60.0, 58.0]], [False, True], [True, True], NOISE)
    assert left.leader == 1


def test_the_same_scores_give_the_same_numbers() -> None:
    scores = [[100.0, 118.0], [125.0, 105.0]]
    one, two = (stand(scores, [True] * 2, [True] * 2, NOISE) for _ in range(2))
    assert np.array_equal(one.draws, two.draws)


def test_one_trial_among_baselines_is_taken_as_it_is() -> None:
    found = stand([[80.0, 84.0], [100.0, 104.0]], [True] * 2, [True, False], NOISE)
    assert found.expected(0).value == pytest.approx(math.sqrt(80.0 * 84.0), rel=0.01)


def run(truth: np.ndarray, seeds: int, rng: np.random.Generator) -> tuple[Standings, int]:
    """A whole race: returns its last standings and how many trainings it took."""
    scores: list[list[float]] = [[] for _ in truth]
    racing, spent = [True] * len(truth), 0
    while True:
        for config in np.flatnonzero(racing):
            noise = rng.standard_t(4) / math.sqrt(2) * NOISE.spread
            scores[config].append(math.exp(truth[config] + noise))
            spent += 1
        if len(scores[int(np.flatnonzero(racing)[0])]) < FEWEST_SEEDS:
            continue
        found = stand(scores, racing, TRIALS, NOISE)
        for config in found.hopeless():
            racing[config] = False
        if found.decided or len(scores[found.leader]) == seeds:
            return found, spent


def test_races_find_a_good_config_early_and_say_what_to_expect_of_it() -> None:
    rng, seeds = np.random.default_rng(5), 6
    good, held, spent, naive = [], [], [], []
    for _ in range(300):
        truth = np.concatenate([rng.normal(4.0, 0.15, 3), [4.05, 4.4]])
        found, trainings = run(truth, seeds, rng)
        expected = found.expected(found.leader)
        good.append(truth[found.leader] - truth.min() < math.log(1.1))
        held.append(expected.low <= math.exp(truth[found.leader]) <= expected.high)
        naive.append(truth[rng.normal(truth, NOISE.spread).argmin()] - truth.min() < math.log(1.1))
        spent.append(trainings / (seeds * len(truth)))
    assert np.mean(good) > 0.88
    assert np.mean(good) > np.mean(naive) + 0.05
    assert 0.92 < np.mean(held) < 0.985
    assert 0.35 < np.mean(spent) < 0.55


def test_no_noise_at_all_is_no_error() -> None:
    standings = stand([[100.0], [120.0], [90.0]], [True] * 3, [True] * 3, Noise(0.0, 4.0))
    assert standings.leader == 2
    assert standings.expected(2).value == pytest.approx(90.0, rel=1e-3)
