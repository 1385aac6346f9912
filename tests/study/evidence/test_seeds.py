"""What seeds do to all configs alike, against likelihoods and moments by other ways."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg, stats

from study.evidence.race import Noise, stand
from study.evidence.seeds import BEFOREHAND, SHARES, SeedEffects

VARIANCE = 0.02


def layout(share: float, there: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """ln(score) of configs on seeds, with noise of which a share is the seeds'."""
    configs, seeds = there.shape
    common = rng.normal(0, np.sqrt(share * VARIANCE), seeds)
    own = rng.normal(0, np.sqrt((1 - share) * VARIANCE), (configs, seeds))
    means = rng.normal(5, 0.3, (configs, 1))
    return np.where(there, means + common + own, np.nan)


def covariance(share: float, seed: np.ndarray) -> np.ndarray:
    """Of scores, by the seed of each."""
    alike = seed[:, None] == seed[None]
    return VARIANCE * ((1 - share) * np.eye(len(seed)) + share * alike)


def test_shares_have_the_likelihood_of_all_contrasts() -> None:
    """The restricted likelihood is that of any basis of what configs' means do not touch."""
    there = np.array([[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0]], dtype=bool)
    logs = layout(0.6, there, np.random.default_rng(0))
    config, seed = np.nonzero(there)
    contrasts = linalg.null_space((config[None] == np.arange(3)[:, None]).astype(float)).T
    values = contrasts @ logs[there]
    likelihood = [
        stats.multivariate_normal(cov=contrasts @ covariance(it, seed) @ contrasts.T).pdf(values)
        for it in SHARES
    ]
    expected = np.array(likelihood) * BEFOREHAND
    found = SeedEffects.of(logs, VARIANCE)
    assert found.probability == pytest.approx(expected / expected.sum(), rel=1e-9)
    # The effects, given a share, by conditioning the joint normal distribution.
    share = SHARES[6]
    mean, covered = found.parts[6]
    prior = share * VARIANCE * np.eye(4)
    loads = contrasts @ (seed[:, None] == np.arange(4)).astype(float)
    gain = prior @ loads.T @ np.linalg.inv(contrasts @ covariance(share, seed) @ contrasts.T)
    assert mean == pytest.approx(gain @ values)
    assert covered * VARIANCE == pytest.approx(prior - gain @ loads @ prior)


def test_draws_have_these_means_and_covariances() -> None:
    rng = np.random.default_rng(1)
    found = SeedEffects.of(layout(0.6, np.ones((4, 5), dtype=bool), rng), VARIANCE)
    places = np.full(200_000, 6)
    drawn = found.effects(places, np.full(200_000, VARIANCE), rng)
    mean, covered = found.parts[6]
    assert drawn.mean(axis=0) == pytest.approx(mean, abs=1e-3)
    assert np.cov(drawn.T) == pytest.approx(covered * VARIANCE, abs=2e-4)
    assert not found.effects(np.zeros(3, dtype=int), np.ones(3), rng).any()


@pytest.mark.parametrize("place", [0, 5, 9])
def test_scores_that_move_together_are_worth_less(place: int) -> None:
    """The spread of the sum of squares has the degrees of freedom of 2 mean² ÷ variance."""
    rng, configs, seeds = np.random.default_rng(2), 5, 4
    there = np.ones((configs, seeds), dtype=bool)
    squares = []
    for _ in range(20_000):
        logs = layout(float(SHARES[place]), there, rng)
        squares.append(((logs - logs.mean(axis=1, keepdims=True)) ** 2).sum())
    expected = 2 * np.mean(squares) ** 2 / np.var(squares)
    found = SeedEffects.of(logs, VARIANCE)
    assert found.on_a_seed == configs
    worth = found.freedom(np.array([place]))[0]
    assert configs * (seeds - 1) * worth == pytest.approx(expected, rel=0.06)


def test_configs_that_share_no_seed_have_nothing_in_common() -> None:
    logs = np.full((3, 3), np.nan)
    np.fill_diagonal(logs, [5.0, 5.1, 4.9])
    found = SeedEffects.of(logs, VARIANCE)
    assert found.probability == pytest.approx(BEFOREHAND)
    assert found.on_a_seed == 1
    assert found.freedom(np.arange(10)) == pytest.approx(1.0)


def test_a_race_in_which_every_training_diverged_is_no_error() -> None:
    scores = [{1: 30.0, 2: 30.0}, {1: 30.0, 2: 30.0}]
    found = stand(scores, [True] * 2, [True] * 2, Noise(0.15, 4.0), [{1, 2}, {1, 2}])
    assert found.spread == pytest.approx(0.15)
    assert np.isfinite(found.draws).all()
