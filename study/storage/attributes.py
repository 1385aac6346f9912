"""What this program keeps in the user attributes of an Optuna study."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from optuna.study import Study
from pydantic import ValidationError

from study.config.study_config import StudyConfig
from study.errors import StudyError
from study.storage.store import Store

CONFIG_ATTRIBUTE = "config"
IDENTITY_ATTRIBUTE = "identity"
TRACKING_ATTRIBUTE = "tracking"
SHARED_ATTRIBUTE = "artifacts"
ENDED_ATTRIBUTE = "ended"
"""How a study ended before its total (`Ended`), as JSON; `null` if it has not."""
NOISE_ATTRIBUTE = "noise"
"""What earlier studies of the same photos say of the noise between seeds, as JSON."""


def with_addresses(store: Store, study: Study) -> Store:
    """The store with its own MLflow server and shared place, else those of the study's launches."""
    attributes = study.user_attrs
    return replace(
        store,
        tracking=store.tracking or attributes.get(TRACKING_ATTRIBUTE),
        shared=store.shared or attributes.get(SHARED_ATTRIBUTE),
    )


@dataclass(frozen=True)
class Ended:
    """A study that ended before its total."""

    trials: int
    """How many it had begun."""
    asked: int
    """The total that it had been asked for."""
    why: str
    """In words."""


def ended_early(study: Study) -> Ended | None:
    """How the study ended before its total; None if it has not."""
    found = json.loads(study.user_attrs.get(ENDED_ATTRIBUTE, "null"))
    return Ended(**found) if found else None


def stored_config(study: Study) -> StudyConfig | None:
    """The config of the study's last launch; `None` if its first launch has not stored one.

    Raises `StudyError` for a config of another program or of a newer release.
    """
    stored = study.user_attrs.get(CONFIG_ATTRIBUTE)
    if stored is None:
        return None
    try:
        return StudyConfig.model_validate_json(stored)
    except (ValidationError, TypeError) as error:
        raise StudyError(
            f"the study '{study.study_name}' was made by another program or a newer release: its "
            "config cannot be read"
        ) from error


def study_config(study: Study) -> StudyConfig:
    """The config of the study's last launch; raises `StudyError` if no launch has stored one."""
    if config := stored_config(study):
        return config
    raise StudyError(
        f"the study '{study.study_name}' has not begun yet; wait for its first launch, or start it "
        "with 'study run'"
    )


def stored_identity(study: Study) -> dict[str, Any]:
    """The study's identity (see `study.config.identity`); empty if no launch has stored one."""
    identity: dict[str, Any] = json.loads(study.user_attrs.get(IDENTITY_ATTRIBUTE, "{}"))
    return identity
