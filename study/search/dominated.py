"""Stops trials of a study with several objectives, where Optuna's pruners cannot.

A trial is stopped when a complete one was better at the same epoch in every value: in distance and
in imbalance by more than the noise between seeds, and in recognised images, if they are a value,
not worse.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from optuna.study import Study
from optuna.trial import TrialState

from dcgan.evaluation.record import in_digits
from study.config.study_config import StudyConfig
from study.evidence.noise import ONE_SIDED_95, beyond_chance, noise_at
from study.search.noise import noise_of
from study.storage.trial_result import VALUES_BY_EPOCH

Values = Sequence[float]
"""Distance, imbalance and perhaps the share of recognised images."""

IMBALANCE_SPREAD = 0.3
"""Standard deviation of the imbalance between seeds of one config, an assumption."""


def is_dominated(own: Values, other: Values, spread: float) -> bool:
    """Whether another training is better in every value and chance hardly explains it.

    Both scores are of one training each, so their difference varies by the square root of two more
    than either. `spread` is the standard deviation of ln(distance) between seeds.
    """
    both = math.sqrt(2)
    further = beyond_chance(own[0], other[0], both * spread)
    less_balanced = own[1] - other[1] > ONE_SIDED_95 * both * IMBALANCE_SPREAD
    return (
        further and less_balanced and all(a <= b for a, b in zip(own[2:], other[2:], strict=True))
    )


def why_dominated(study: Study, epoch: int, own: Values, config: StudyConfig) -> str | None:
    """Why a trial with these values at an epoch is to be stopped, in words; None if it is not."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    pruner = config.pruner
    early = epoch < pruner.warmup_epochs or len(complete) < pruner.startup_trials
    if pruner.name == "none" or early:
        return None
    spread = noise_at(noise_of(study), epoch, config.noise.assumed).spread
    for trial in complete:
        reported: Mapping[str, Values] = trial.user_attrs.get(VALUES_BY_EPOCH, {})
        other = reported.get(str(epoch))
        if other and len(other) == len(own) and is_dominated(own, other, spread):
            return (
                f"distance {in_digits(own[0])} and imbalance {own[1]:.2f} at epoch {epoch}, while "
                f"trial {trial.number} had {in_digits(other[0])} and {other[1]:.2f} there"
            )
    return None
