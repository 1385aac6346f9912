"""Stops trials of a study with several objectives, where Optuna's pruners cannot.

A trial is stopped when a complete one was better at the same epoch in every value: in distance and
in imbalance by more than the noise between seeds, and in recognised images, if they are a value,
not worse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from optuna.study import Study
from optuna.trial import TrialState

from dcgan.evaluation.record import in_digits
from study.config.study_config import StudyConfig
from study.evidence.noise import beyond_chance, margin, noise_at
from study.search.noise import imbalance_noise_of, noise_between_seeds, values_of

Values = Sequence[float]
"""Distance, imbalance and perhaps the share of recognised images."""

IMBALANCE_SPREAD = 0.3
"""Standard deviation of the imbalance between seeds of one config, as long as none is measured."""


def is_dominated(
    own: Values, other: Values, spreads: tuple[float, float], comparisons: int = 1
) -> bool:
    """Whether another training is better in every value and chance hardly explains it.

    Both are one training each, so their difference varies by the square root of two more than
    either.

    Args:
        own: of the trial.
        other: of a complete one.
        spreads: standard deviations of ln(distance) and of the imbalance between seeds.
        comparisons: how many others the trial is compared with. The luckiest of many is far ahead.
    """
    distance, imbalance = (math.sqrt(2) * spread for spread in spreads)
    further = beyond_chance(own[0], other[0], distance, comparisons)
    less_balanced = own[1] - other[1] > margin(imbalance)
    no_better = all(mine <= theirs for mine, theirs in zip(own[2:], other[2:], strict=True))
    return further and less_balanced and no_better


def why_dominated(study: Study, epoch: int, own: Values, config: StudyConfig) -> str | None:
    """Why a trial with these values at an epoch is to be stopped, in words; None if it is not."""
    complete, pruner = (
        study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)),
        config.pruner,
    )
    early = epoch < pruner.warmup_epochs or len(complete) < pruner.startup_trials
    if pruner.name == "none" or early:
        return None
    there = [(trial.number, values_of(trial).get(epoch)) for trial in complete]
    known = [(number, values) for number, values in there if values and len(values) == len(own)]
    ahead = [(number, it) for number, it in known if it[0] < own[0] and it[1] < own[1]]
    if not ahead:
        return None
    spreads = (
        noise_between_seeds(study, epoch, config.noise.assumed).spread,
        noise_at(imbalance_noise_of(study), epoch, IMBALANCE_SPREAD).spread,
    )
    for number, values in ahead:
        if is_dominated(own, values, spreads, len(known)):
            return (
                f"distance {in_digits(own[0])} and imbalance {own[1]:.2f} at epoch {epoch}, while "
                f"trial {number} had {in_digits(values[0])} and {values[1]:.2f} there"
            )
    return None
