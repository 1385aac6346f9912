"""What this program keeps in the user attributes of an Optuna study."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from study.config.study_config import StudyConfig
from study.errors import StudyError
from study.storage.store import Store

if TYPE_CHECKING:
    from optuna.study import Study

CONFIG_ATTRIBUTE = "config"
IDENTITY_ATTRIBUTE = "identity"
TRACKING_ATTRIBUTE = "tracking"


def with_tracking(store: Store, study: Study) -> Store:
    """The store with the MLflow server that the study's launches use, unless it names another."""
    recorded = study.user_attrs.get(TRACKING_ATTRIBUTE)
    return store if store.tracking else replace(store, tracking=recorded)


def stored_config(study: Study) -> StudyConfig | None:
    """The config of the study's last launch; `None` if its first launch has not stored one."""
    stored = study.user_attrs.get(CONFIG_ATTRIBUTE)
    return None if stored is None else StudyConfig.model_validate_json(stored)


def study_config(study: Study) -> StudyConfig:
    """The config of the study's last launch.

    Raises:
        StudyError: no launch has stored one yet, or the study is not one of this program's.
    """
    config = stored_config(study)
    if config is None:
        raise StudyError(
            f"the study '{study.study_name}' has not begun yet; wait for its first launch, or "
            "start it with 'study run'"
        )
    return config


def stored_identity(study: Study) -> dict[str, Any]:
    """What makes the study's numbers comparable (see `study.config.identity`).

    Returns:
        Dotted keys and plain values; empty if no launch has stored them yet.
    """
    identity: dict[str, Any] = json.loads(study.user_attrs.get(IDENTITY_ATTRIBUTE, "{}"))
    return identity
