"""The identity of a study: everything that two launches must share for comparable numbers."""

from __future__ import annotations

import json
from typing import Any

from dcgan.config.settings import dotted_keys, get_dotted
from dcgan.config.train_config import TrainConfig
from study.config.study_config import StudyConfig
from study.errors import StudyMismatchError

ATTRIBUTE = "identity"
FREE_TRAIN_KEYS = frozenset(
    {
        "data.root",  # the fingerprint says whether the photos are the same
        "train.seed",  # each trial has its own
        "train.checkpoint_every_epochs",
        "train.grid_every_steps",
        "train.log_every_steps",
        "train.cuda_graphs",  # the same numbers
        "eval.extractor",  # resolved once; its name and weights are compared
        "eval.weights",
        "provenance",
    }
)
WARN_ONLY = ("environment.", "train.device", "train.threads")
"""Differences that can change the last digits. They cause a warning, never a refusal."""


def identity_of(
    config: StudyConfig, fingerprint: str, extractor: dict[str, str], environment: dict[str, Any]
) -> dict[str, Any]:
    """Everything that two launches of one study must share, as flat plain data."""
    flat: dict[str, Any] = {
        key: get_dotted(config.base, key)
        for key in dotted_keys(TrainConfig)
        if key not in FREE_TRAIN_KEYS
    }
    flat["study.seed"] = config.study.seed
    for section in ("objective", "sampler", "pruner", "collapse"):
        values = getattr(config, section).model_dump(mode="json")
        flat |= {f"{section}.{key}": value for key, value in values.items()}
    flat |= {f"space.{key}": item.model_dump(mode="json") for key, item in config.space.items()}
    flat["data.fingerprint"] = fingerprint
    flat |= {f"extractor.{key}": value for key, value in extractor.items()}
    flat |= {f"environment.{key}": value for key, value in environment.items()}
    plain: dict[str, Any] = json.loads(json.dumps(flat))
    return plain


def check_relaunch(name: str, recorded: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Compare the recorded identity of a study with that of a relaunch.

    Returns:
        Differences that only cause a warning.

    Raises:
        StudyMismatchError: names what differs.
    """
    refused: list[str] = []
    warned: list[str] = []
    for key in [*recorded, *(key for key in now if key not in recorded)]:
        # A setting that a newer version added had its default before.
        old, new = recorded.get(key, _default(key)), now.get(key)
        if old == new or (key.startswith("space.") and is_widened(old, new)):
            continue
        difference = f"{key} was {json.dumps(old)}, now {json.dumps(new)}"
        (warned if key.startswith(WARN_ONLY) else refused).append(difference)
    if refused:
        raise StudyMismatchError(
            f"the study '{name}' exists with other settings, and numbers from both could not be "
            f"compared: {'; '.join(refused)}; restore these settings, or start another study with "
            "--name"
        )
    return warned


def is_widened(old: Any, new: Any) -> bool:
    """Whether a range contains the one it replaces (same type, step and scale)."""
    if not isinstance(old, dict) or not isinstance(new, dict) or old.get("type") == "categorical":
        return False
    same = all(old.get(key) == new.get(key) for key in ("type", "step", "log"))
    return bool(same and new["low"] <= old["low"] and old["high"] <= new["high"])


def _default(key: str) -> Any:
    for model in (StudyConfig, TrainConfig):
        if key in dotted_keys(model):
            section, *rest = key.split(".")
            value: Any = model.model_fields[section].default
            for part in rest:
                value = getattr(value, part)
            return json.loads(json.dumps(value))
    return None
