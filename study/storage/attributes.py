"""What this program keeps in Optuna's user attributes, and under which names."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from study.config.study_config import StudyConfig
from study.errors import StudyError
from study.storage.store import Store

if TYPE_CHECKING:
    from optuna.study import Study
TRACKING_ATTRIBUTE = "tracking"
CONFIG_ATTRIBUTE = "config"
METRICS_ATTRIBUTE = "metrics"
"""Of a trial: the metrics that the leaderboard shows beside the distance, by name."""


def with_tracking(store: Store, study: Study) -> Store:
    """The store with the MLflow server that the study's launches use, unless it names another."""
    recorded = study.user_attrs.get(TRACKING_ATTRIBUTE)
    return store if store.tracking else replace(store, tracking=recorded)


def set_attributes(study: Study, trial_id: int, values: dict[str, Any]) -> None:
    """Store several user attributes of a trial."""
    for key, value in values.items():
        study._storage.set_trial_user_attr(trial_id, key, value)


def study_config(study: Study) -> StudyConfig:
    """The config a study was created with.

    Raises:
        StudyError: its first launch has not got so far, or it is not one of this program's.
    """
    if CONFIG_ATTRIBUTE not in study.user_attrs:
        raise StudyError(
            f"the study '{study.study_name}' has not begun yet; wait for its first launch, or "
            "start it with 'study run'"
        )
    return StudyConfig.model_validate(json.loads(study.user_attrs[CONFIG_ATTRIBUTE]))
