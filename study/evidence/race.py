"""A race between configs that are trained on several seeds: who can still win?

Scores are distances, lower is better. The model, in logarithms: a config has a mean, and each
training of it differs from that by noise, whose size is the same for all configs. Configs train on
the same seeds, and a share of the noise may be the seed's: it moves all of them alike and cancels
when they are compared. How large that share is, the scores say. The means of a study's trials are
scattered around a common centre, so the trial that looks best is expected to be somewhat less good
than it looks (hierarchical normal model; Gelman et al. 2013, *Bayesian Data Analysis*, chapter 5).
Baselines were not chosen for their scores, so theirs are taken as they are.

All that is reported comes from draws of the means given the scores: intervals, the probability of
being the best, comparisons. These stay valid however often one looks and for the config that was
picked for its score, as far as the model holds (`python -m benchmarks.evidence.confirming`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from study.evidence.seeds import SHARES, SeedEffects

DRAWS = 4000
WITHIN = 0.1
"""Configs whose scores differ by less than this share are as good as each other."""
HOPELESS = 0.02
"""A config leaves the race when its probability of being the best is lower."""
SURE = 0.9
"""The race ends when the leader is, with this probability, as good as the best."""
FEWEST_SEEDS = 2
LEAST_SPREAD = 1e-4
"""Noise between seeds below which it counts as this much, so that nothing is divided by 0."""
SCATTERS = np.geomspace(0.02, 1.5, 32)
"""Standard deviations of trials' means that are considered."""
SCATTER_SCALE = 0.2
"""Scale of the half-Cauchy prior of that standard deviation."""

Floats = npt.NDArray[np.float64]


class Noise(NamedTuple):
    """What is known beforehand of the noise between seeds, from other trainings."""

    spread: float = 0.15
    """Standard deviation of ln(score) between seeds of one config."""
    weight: float = 4.0
    """Degrees of freedom of that estimate: it counts as much as so many repeated trainings."""


USUAL = Noise()


class Estimate(NamedTuple):
    """A positive number with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Standings:
    """The race after some seeds; entries follow the order of the configs."""

    draws: Floats
    """(draws, configs): means of ln(score) that the scores allow."""
    leader: int
    """The config with the lowest expected mean among those in the race."""
    spread: float
    """Standard deviation of ln(score) between seeds of one config, as the scores suggest."""

    @property
    def best(self) -> Floats:
        """Probability of each config to be the best."""
        first = self.draws.argmin(axis=1)
        return np.bincount(first, minlength=self.draws.shape[1]) / len(first)

    @property
    def sure(self) -> float:
        """Probability that the leader is the best or within `WITHIN` of it."""
        behind = self.draws[:, self.leader] - self.draws.min(axis=1)
        return float((behind < np.log1p(WITHIN)).mean())

    @property
    def decided(self) -> bool:
        """Whether the leader is as good as the best beyond reasonable doubt."""
        return self.sure >= SURE

    def hopeless(self) -> list[int]:
        """Configs that cannot win any more; never the leader."""
        return [k for k, it in enumerate(self.best) if it < HOPELESS and k != self.leader]

    def expected(self, config: int) -> Estimate:
        """The score that a config has on average over seeds (geometric mean)."""
        return _estimate(self.draws[:, config])

    def beyond(self, config: int, other: int) -> Estimate:
        """The ratio of a config's score to that of another one."""
        return _estimate(self.draws[:, config] - self.draws[:, other])


def stand(
    scores: Sequence[Mapping[int, float]],
    racing: Sequence[bool],
    trials: Sequence[bool],
    noise: Noise = USUAL,
    without_score: Sequence[Collection[int]] | None = None,
) -> Standings:
    """Where the configs stand.

    Args:
        scores: for each config its scores by seed, positive, at least one.
        racing: which configs are still in the race; at least one.
        trials: which configs were found by a study and may be picked for their scores; the others
            are baselines.
        noise: what is known of the noise between seeds beforehand.
        without_score: for each config the seeds whose entry in `scores` stands for a training that
            has none (default: no seed). They say nothing of the noise.
    """
    rng = np.random.default_rng(0)
    logs = _by_seed(scores)
    kept = logs.copy()
    for config, lost in enumerate(without_score or []):
        kept[config, [place for place, seed in enumerate(_seeds(scores)) if seed in lost]] = np.nan
    kept = kept[~np.isnan(kept).all(axis=1)]
    centred = kept - np.nanmean(kept, axis=1, keepdims=True)
    repeated, squares = float((~np.isnan(kept)).sum() - len(kept)), float(np.nansum(centred**2))
    variance = (noise.weight * noise.spread**2 + squares) / (noise.weight + repeated)
    variance = max(variance, LEAST_SPREAD**2)
    seeds = SeedEffects.of(kept, variance)
    places = seeds.shares(DRAWS, rng)
    share, freedom = SHARES[places][:, None], noise.weight + repeated * seeds.freedom(places)
    variances = variance * freedom / rng.chisquare(freedom)
    present = ~np.isnan(logs)
    counts = present.sum(axis=1).astype(float)
    effects = seeds.effects(places, variances, rng) @ (present / counts[:, None]).T
    means = np.nanmean(logs, axis=1) - effects
    own, owns = (1 - float(share.mean())) * variance, (1 - share) * variances[:, None]
    found = np.asarray(trials, dtype=bool)
    centres, weights = np.zeros((DRAWS, 1)), np.zeros((DRAWS, len(logs)))
    if found.sum() > 1:  # one trial alone says nothing of the scatter
        scatter = _scatter(means[:, found].mean(axis=0), own / counts[found], rng)
        centres = _centres(means[:, found], scatter**2 + owns / counts[found], rng)
        weights[:, found] = 1 / scatter**2
    precision = weights + counts / owns
    expected = (weights * centres + counts / owns * means) / precision
    draws = expected + rng.standard_normal(expected.shape) / np.sqrt(precision)
    leader = int(np.where(racing, draws.mean(axis=0), np.inf).argmin())
    return Standings(draws, leader, math.sqrt(variance))


def _seeds(scores: Sequence[Mapping[int, float]]) -> list[int]:
    return sorted({seed for values in scores for seed in values})


def _by_seed(scores: Sequence[Mapping[int, float]]) -> Floats:
    """(configs, seeds): ln(score), NaN where a config has none."""
    seeds = _seeds(scores)
    return np.log([[values.get(seed, np.nan) for seed in seeds] for values in scores])


def _scatter(means: Floats, variances: Floats, rng: np.random.Generator) -> Floats:
    """Draws of the standard deviation of the means, given estimates and their variances."""
    spread = SCATTERS[:, None] ** 2 + variances
    weights = 1 / spread
    centre = (weights * means).sum(axis=1) / weights.sum(axis=1)
    likelihood = -0.5 * (
        np.log(spread).sum(axis=1)
        + np.log(weights.sum(axis=1))
        + (weights * (means - centre[:, None]) ** 2).sum(axis=1)
    )
    # The values are spaced evenly in logarithms, so each stands for a part as wide as itself.
    prior = np.log(SCATTERS) - np.log1p((SCATTERS / SCATTER_SCALE) ** 2)
    probability = np.exp(likelihood + prior - (likelihood + prior).max())
    drawn: Floats = rng.choice(SCATTERS, (DRAWS, 1), p=probability / probability.sum())
    return drawn


def _centres(means: Floats, variances: Floats, rng: np.random.Generator) -> Floats:
    """Draws of the common centre of the means, both (draws, configs)."""
    weights = 1 / variances
    centre = (weights * means).sum(axis=1) / weights.sum(axis=1)
    drawn: Floats = centre + rng.standard_normal(len(centre)) / np.sqrt(weights.sum(axis=1))
    return drawn[:, None]


def _estimate(draws: Floats) -> Estimate:
    low, high = np.quantile(draws, (0.025, 0.975))
    return Estimate(*(float(np.exp(it)) for it in (draws.mean(), low, high)))
