"""What a confirmed config is expected to score when somebody trains it again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from study.evidence.race import Estimate

TWO_SIDED_95 = 1.959964
"""Half the width of a 95 % interval, in standard deviations of a normal distribution."""


@dataclass(frozen=True)
class Promise:
    """The expected score of a config, from trainings on several seeds."""

    score: float
    """Geometric mean over seeds."""
    low: float
    high: float
    """Its 95 % interval."""
    spread: float
    """Standard deviation of ln(score) between seeds."""
    seeds: int
    """Trainings that it rests on."""
    epochs: int
    """Their length."""

    def predicted(self, seeds: int) -> Estimate:
        """The geometric mean of the scores of so many new trainings, with its 95 % interval."""
        uncertain = math.log(self.high / self.low) / (2 * TWO_SIDED_95)
        deviation = math.sqrt(uncertain**2 + self.spread**2 / seeds)
        half = math.exp(TWO_SIDED_95 * deviation)
        return Estimate(self.score, self.score / half, self.score * half)

    def is_kept(self, scores: Sequence[float]) -> bool:
        """Whether the scores of new trainings agree with it; one that is not positive does not."""
        if min(scores) <= 0:
            return False
        predicted = self.predicted(len(scores))
        mean = math.exp(sum(map(math.log, scores)) / len(scores))
        return predicted.low <= mean <= predicted.high

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as an exported config carries them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Promise:
        """Read what `as_dict` wrote; raises `ValueError` for anything else."""
        try:
            score, low, high, spread = (
                float(values[name]) for name in ("score", "low", "high", "spread")
            )
            seeds, epochs = (int(values[name]) for name in ("seeds", "epochs"))
        except (KeyError, TypeError) as error:
            raise ValueError(f"no expected score: {error}") from error
        if not 0 < low <= score <= high:
            raise ValueError(f"no expected score: {low} to {high}")
        return cls(score, low, high, spread, seeds, epochs)
