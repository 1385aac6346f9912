"""The noise between seeds that a study knows: from its own repeated trainings and earlier ones'."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial

from study.errors import StudyError
from study.evidence.noise import Measured, Squares, measure, noise_at, together
from study.evidence.race import Noise
from study.storage.attributes import NOISE_ATTRIBUTE, stored_config, stored_identity
from study.storage.optuna_db import storage_of
from study.storage.trial_result import VALUES_BY_EPOCH

COMPARABLE = (
    *("data.fingerprint", "data.image_size", "data.holdout_fraction"),
    *("extractor.fingerprint", "eval.n_samples", "eval.score_model"),
    *(f"objective.{name}" for name in ("mode", "metric", "tolerance", "weight", "cap")),
)
"""What two studies must share for the noise of one to be that of the other."""


def noise_of(study: Study) -> Measured:
    """What is known by now: recorded at the study's start, and of its own repeated trainings."""
    recorded = json.loads(study.user_attrs.get(NOISE_ATTRIBUTE, "{}"))
    earlier = {int(epoch): Squares(*squares) for epoch, squares in recorded.items()}
    return together(earlier, repeated_in(study.get_trials(deepcopy=False)))


def noise_between_seeds(study: Study, epoch: int, assumed: float) -> Noise:
    """The noise at an epoch, as far as a study knows it; `assumed` is what it began with."""
    return noise_at(noise_of(study), epoch, assumed)


def noise_before(study: Study, identity: Mapping[str, Any]) -> Measured:
    """The noise by the repeated trainings of other studies of its database, on the same photos."""
    found: Measured = {}
    storage = storage_of(study)
    for name in sorted(optuna.get_all_study_names(storage)):
        if name == study.study_name:
            continue
        with suppress(KeyError):  # somebody deletes it just now
            other = optuna.load_study(study_name=name, storage=storage)
            there = stored_identity(other)
            same = all(there.get(key) == identity.get(key) for key in COMPARABLE)
            if same and _has_repeats(other):
                found = together(found, repeated_in(other.get_trials(deepcopy=False)))
    return found


def imbalance_noise_of(study: Study) -> Measured:
    """As `noise_of`, of the imbalance in a study of several objectives: not of its logarithm."""

    def raised(trial: FrozenTrial) -> dict[int, float]:
        return {epoch: float(np.exp(values[1])) for epoch, values in values_of(trial).items()}

    return repeated_in(study.get_trials(deepcopy=False), raised)


def values_of(trial: FrozenTrial) -> dict[int, list[float]]:
    """Epoch → the values of a trial of several objectives; empty for one objective."""
    several: dict[str, list[float]] = trial.user_attrs.get(VALUES_BY_EPOCH, {})
    return {int(epoch): values for epoch, values in several.items()}


def scores_of(trial: FrozenTrial) -> dict[int, float]:
    """Epoch → score, with several objectives the distance."""
    if trial.intermediate_values:
        return dict(trial.intermediate_values)
    return {epoch: values[0] for epoch, values in values_of(trial).items()}


def noise_as_text(measured: Measured) -> str:
    """As the study's attribute keeps it."""
    return json.dumps(measured)


def _has_repeats(study: Study) -> bool:
    """Whether trainings were planned on several seeds; false for what cannot be read."""
    try:
        config = stored_config(study)
    except StudyError:
        return False
    if config is None:
        return False
    return config.noise.seeds > 1 or any(baseline.repeats for baseline in config.baselines)


def repeated_in(
    trials: Iterable[FrozenTrial], read: Callable[[FrozenTrial], dict[int, float]] = scores_of
) -> Measured:
    """The noise by trials of one study that have the same parameters and different seeds.

    `read` gives what is compared, by epoch, positive.
    """
    groups: dict[tuple[tuple[str, Any], ...], dict[int, FrozenTrial]] = {}
    for trial in trials:
        seed, params = trial.user_attrs.get("seed"), tuple(sorted(trial.params.items()))
        if seed is not None and params:
            groups.setdefault(params, {})[seed] = trial
    repeated = (by_seed.values() for by_seed in groups.values() if len(by_seed) > 1)
    return measure([[read(trial) for trial in group] for group in repeated])
