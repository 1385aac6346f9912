"""The part of the noise between trainings that comes from the seed: all configs share it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SHARES = np.linspace(0.0, 0.9, 10)
"""Shares of the noise's variance that are the seed's, as far as they are considered."""
NONE = 2 / 3
"""How likely it is beforehand that seeds do nothing to all configs alike; the other shares are as
likely as each other."""
BEFOREHAND = np.array([NONE, *[(1 - NONE) / (len(SHARES) - 1)] * (len(SHARES) - 1)])

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SeedEffects:
    """What is known of the seeds' effects, from how scores lie around their configs' means.

    A two-way layout with random effects of seeds, whose share of the variance has the restricted
    likelihood (Patterson & Thompson 1971): the means of the configs say nothing of it.
    """

    probability: Floats
    """Of each of `SHARES`."""
    parts: tuple[tuple[Floats, Floats], ...]
    """For each the mean of the effects, and their covariance by the variance of the noise."""
    on_a_seed: float
    """How many configs train on a seed, the mean over trainings."""

    @classmethod
    def of(cls, logs: Floats, variance: float) -> SeedEffects:
        """By ln(score), (configs, seeds), NaN where there is none, and the noise's variance."""
        there = (~np.isnan(logs)).astype(float)
        per_seed = there.sum(axis=0)
        # What seeds add to the scores around their configs' means: a quadratic form and a vector.
        form = np.diag(per_seed) - there.T @ (there / there.sum(axis=1, keepdims=True))
        around = np.nan_to_num(logs - np.nanmean(logs, axis=1, keepdims=True))
        vector, squares = around.sum(axis=0), float((around**2).sum())
        freedom = per_seed.sum() - len(logs)
        posterior, parts = np.log(BEFOREHAND), []
        for place, share in enumerate(SHARES):
            ratio = share / (1 - share)
            inner = np.linalg.inv(np.eye(len(form)) + ratio * form)
            explained = ratio * float(vector @ inner @ vector)
            posterior[place] -= 0.5 * (
                freedom * math.log(1 - share)
                - float(np.linalg.slogdet(inner)[1])
                + (squares - explained) / (variance * (1 - share))
            )
            parts.append((ratio * inner @ vector, share * inner))
        likely = np.exp(posterior - posterior.max())
        each = float((per_seed**2).sum()) / max(float(per_seed.sum()), 1.0)
        return cls(likely / likely.sum(), tuple(parts), max(each, 1.0))

    def shares(self, draws: int, rng: np.random.Generator) -> Places:
        """Draws of the share, as places in `SHARES`."""
        return rng.choice(len(SHARES), draws, p=self.probability)

    def freedom(self, places: Places) -> Floats:
        """What one degree of freedom of the noise is worth for these shares.

        Scores on one seed that move together say less of the noise (Satterthwaite 1946).
        """
        share, count = SHARES[places], self.on_a_seed
        together = (1 + (count - 1) * share) ** 2 + (count - 1) * (1 - share) ** 2
        worth: Floats = count / together
        return worth

    def effects(self, places: Places, variances: Floats, rng: np.random.Generator) -> Floats:
        """Draws of the effects, (draws, seeds), for shares and variances (draws,) of the noise."""
        found = np.zeros((len(places), len(self.parts[0][0])))
        for place, (mean, covariance) in enumerate(self.parts):
            those = places == place
            if SHARES[place] > 0 and those.any():
                root = np.linalg.cholesky((covariance + covariance.T) / 2)
                normal = rng.standard_normal((int(those.sum()), len(mean))) @ root.T
                found[those] = mean + np.sqrt(variances[those])[:, None] * normal
        return found
