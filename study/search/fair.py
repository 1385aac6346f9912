"""Optuna's pruners, made to stop a trial only for more than chance.

Two trainings of one config differ. A trial that is worse than the median of the others by a hair
would otherwise be stopped, although another seed would have put it ahead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
)
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from dcgan.evaluation.record import in_digits
from dcgan.runtime.seeds import derive_seed
from study.evidence.noise import beyond_chance
from study.evidence.race import USUAL
from study.search.noise import noise_between_seeds


@dataclass(frozen=True)
class Behind:
    """How far a trial is behind others at an epoch."""

    epoch: int
    score: float
    """Its best score so far."""
    threshold: float
    """The score that the pruner asks of it: that of the others at this epoch, at a quantile."""
    spread: float
    """Standard deviation of ln(score) between seeds of one config there."""

    @property
    def beyond_chance(self) -> bool:
        """Whether another seed would hardly have reached the threshold."""
        return beyond_chance(self.score, self.threshold, self.spread)

    def describe(self) -> str:
        """The numbers that decide, in words."""
        return (
            f"best score {in_digits(self.score)} up to epoch {self.epoch}, while it takes "
            f"{in_digits(self.threshold)} there to be among the best; another seed changes a score "
            f"by about {self.spread:.0%}"
        )


class Fair(BasePruner):
    """Stops a trial if the next class would and noise between seeds does not explain why."""

    quantile: float
    """From 0 to 1: which of the others' scores the next class asks of a trial."""
    assumed: float = USUAL.spread
    """The noise between seeds as long as none is measured (`noise.assumed`)."""
    states = tuple(TrialState)
    """States of the trials that it is compared with."""

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether to stop the trial, whose last score was reported."""
        if not super().prune(study, trial):  # type: ignore[safe-super]
            return False
        behind = self.behind(study, trial)
        return behind is not None and (behind.spread == 0 or behind.beyond_chance)

    def behind(self, study: Study, trial: FrozenTrial) -> Behind | None:
        """How the trial stands at its last epoch; None if no other has a score there."""
        epoch = trial.last_step
        there = study.get_trials(deepcopy=False, states=self.states)
        others = [
            other.intermediate_values[epoch]
            for other in there
            if other.number != trial.number and epoch in other.intermediate_values
        ]
        if epoch is None or not others:
            return None
        return Behind(
            epoch,
            min(trial.intermediate_values.values()),
            float(np.quantile(others, self.quantile)),
            noise_between_seeds(study, epoch, self.assumed).spread,
        )


class FairPercentile(Fair, PercentilePruner):
    """The best score so far is worse than a percentile of the complete trials at that epoch."""

    states = (TrialState.COMPLETE,)

    def __init__(self, percentile: float, **options: Any) -> None:
        self.quantile = percentile / 100
        super().__init__(percentile, **options)


class FairHyperband(Fair, HyperbandPruner):
    """Several brackets of successive halving."""

    def __init__(self, reduction_factor: int, **options: Any) -> None:
        self.quantile = 1 / reduction_factor
        super().__init__(reduction_factor=reduction_factor, **options)


class FairHalving(Fair, SuccessiveHalvingPruner):
    """The best part of the trials at each rung goes on to the next."""

    def __init__(self, reduction_factor: int, **options: Any) -> None:
        self.quantile = 1 / reduction_factor
        super().__init__(reduction_factor=reduction_factor, **options)


def is_audited(share: float, seed: int, number: int) -> bool:
    """Whether a trial may train on where the pruner would stop it: a fixed draw for each trial."""
    return derive_seed(seed, "audit", number) % 2**32 < share * 2**32
