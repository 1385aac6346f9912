"""Everything a set of fakes is told about how far it is from the photos, in one go."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from dcgan.evaluation.metrics.floor import (
    Halves,
    MatchedFloor,
    NoFloorError,
    photo_halves,
    times_floor,
)
from dcgan.evaluation.metrics.frechet import fit_gaussian, frechet_distance
from dcgan.evaluation.metrics.interval import FrechetInterval, frechet_interval
from dcgan.evaluation.metrics.kernel import KernelDistance, kernel_distance
from dcgan.evaluation.metrics.manifold import (
    ManifoldScores,
    ball_radii,
    precision_recall_density_coverage,
)
from dcgan.evaluation.metrics.matrix import ArrayLike, feature_matrix

NEIGHBOURS = 5
"""k of precision, recall, density and coverage, as Naeem et al. 2020 use it."""
INTERVAL_GROUPS = 8
"""Groups of the jackknife: each costs one more set of eigenvalues."""
REPEATS = 8
"""Random subsets that a comparison at matched sizes averages."""


@dataclass(frozen=True)
class HoldoutScore:
    """Distances at one size: to photos never trained on, and to as many that were."""

    holdout: float
    """Fréchet distance of the held-out photos to as many fakes, averaged over such fakes."""
    trained: float
    """The same for random sets of training photos of that size; a lower number is overfitting."""
    size: int


@dataclass(frozen=True)
class SetScore:
    """One set of fakes against the photos. Lower distances are better."""

    frechet: FrechetInterval
    kernel: KernelDistance
    spread: float | None
    """Total variance of the fakes' features over the photos'; 0 where all fakes are one image.
    None with photos that all look the same."""
    manifold: ManifoldScores | None
    """None with fewer than `NEIGHBOURS` + 1 photos or fakes, or where not asked for."""
    floor: MatchedFloor | None
    """None with fewer than 4 photos or photos that all look the same, or where not asked for."""
    holdout: HoldoutScore | None

    def as_record(self, frechet_name: str, kernel_name: str) -> dict[str, Any]:
        """Flat plain data under the metrics' names; what was not computed is left out."""
        record: dict[str, Any] = {
            frechet_name: self.frechet.value,
            f"{frechet_name}_low": self.frechet.low,
            f"{frechet_name}_high": self.frechet.high,
            kernel_name: self.kernel.value,
            f"{kernel_name}_standard_error": self.kernel.standard_error,
        }
        if self.spread is not None:
            record["spread"] = self.spread
        if self.manifold is not None:
            record |= self.manifold._asdict()
        if self.floor is not None:
            record[f"{frechet_name}_times_floor"] = self.floor.ratio
        if self.holdout is not None:
            record[f"{frechet_name}_holdout"] = self.holdout.holdout
            record[f"{frechet_name}_trained"] = self.holdout.trained
        return record


class RealSet:
    """The photos' features, with all that is computed of them once.

    Args:
        features: `(n, d)` of the photos trained on, n >= 2.
        holdout: `(h, d)` of those that were not, h >= 2.
    """

    def __init__(self, features: ArrayLike, holdout: ArrayLike | None = None) -> None:
        self.features = feature_matrix(features, "real")
        self.holdout = None if holdout is None else feature_matrix(holdout, "held-out")
        self.gaussian = fit_gaussian(self.features)
        self._variance = float(self.features.var(dim=0).sum())
        self._halves: dict[int, Halves] = {}

    @cached_property
    def _radii(self) -> Tensor:
        return ball_radii(self.features, NEIGHBOURS)

    def score(self, fake: ArrayLike, *, in_full: bool = True) -> SetScore:
        """Score fakes `(m, d)`; not in full, by the two distances to the photos alone.

        Raises:
            EvaluationError: fewer than 3 fakes, another d, or values that are not finite.
        """
        fakes = feature_matrix(fake, "fake")
        return SetScore(
            frechet=frechet_interval(self.gaussian, fakes, groups=INTERVAL_GROUPS),
            kernel=kernel_distance(self.features, fakes),
            spread=float(fakes.var(dim=0).sum()) / self._variance if self._variance else None,
            manifold=self._manifold(fakes) if in_full else None,
            floor=self._over_floor(fakes) if in_full else None,
            holdout=self._against_holdout(fakes) if in_full else None,
        )

    def _manifold(self, fakes: Tensor) -> ManifoldScores | None:
        if min(len(self.features), len(fakes)) <= NEIGHBOURS:
            return None
        return precision_recall_density_coverage(
            self.features, fakes, NEIGHBOURS, real_radii=self._radii
        )

    def _over_floor(self, fakes: Tensor) -> MatchedFloor | None:
        if len(self.features) < 4:
            return None
        if len(fakes) not in self._halves:
            halves = photo_halves(self.features, len(fakes), repeats=REPEATS)
            self._halves[len(fakes)] = halves
        with suppress(NoFloorError):
            return times_floor(self._halves[len(fakes)], fakes)
        return None

    def _against_holdout(self, fakes: Tensor) -> HoldoutScore | None:
        """Both distances from sets of equal size, since fewer photos make any distance larger."""
        if self.holdout is None:
            return None
        holdout = self.holdout
        size = min(len(holdout), len(self.features), len(fakes))
        rng = torch.Generator().manual_seed(0)

        def some(rows: Tensor) -> Tensor:
            return rows[torch.randperm(len(rows), generator=rng)[:size]]

        pairs = [(some(fakes), some(holdout), some(self.features)) for _ in range(REPEATS)]
        return HoldoutScore(
            holdout=sum(frechet_distance(h, f) for f, h, _ in pairs) / REPEATS,
            trained=sum(frechet_distance(t, f) for f, _, t in pairs) / REPEATS,
            size=size,
        )
