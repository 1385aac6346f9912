"""The identity of a study: what two launches must share so that their numbers compare."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from dcgan.config.settings import dotted_keys, get_dotted
from dcgan.config.train_config import TrainConfig
from study.config.study_config import StudyConfig
from study.errors import StudyMismatchError

FREE_TRAIN_KEYS = frozenset(
    {
        "data.root",  # the fingerprint says whether the photos are the same
        "train.seed",  # each trial has its own
        "train.checkpoint_every_epochs",
        "train.grid_every_steps",
        "train.log_every_steps",
        "train.cuda_graphs",  # does not change the numbers
        "eval.extractor",  # the name and weights of the resolved extractor are compared
        "eval.weights",
        "eval.fid_at_end",
        "provenance",
    }
)
COMPARED_STUDY_KEYS = ("study.seed", "objective.", "sampler.", "pruner.", "collapse.", "budget.")
WARN_ONLY = ("environment.", "train.device", "train.threads")
"""Keys whose values can only change the last digits of a number: a difference causes a warning."""


def identity_of(
    config: StudyConfig, fingerprint: str, extractor: dict[str, str], environment: dict[str, Any]
) -> dict[str, Any]:
    """What two launches of one study must share, as plain values by dotted keys."""
    flat: dict[str, Any] = {
        key: get_dotted(config.base, key)
        for key in dotted_keys(TrainConfig)
        if key not in FREE_TRAIN_KEYS
    }
    keys = [key for key in dotted_keys(StudyConfig) if key.startswith(COMPARED_STUDY_KEYS)]
    flat |= {key: get_dotted(config, key) for key in keys}
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
    # A setting that a newer release added had its default before.
    defaults = identity_of(StudyConfig.model_construct(space={}), "", {}, {})
    for key in recorded | now:
        old, new = recorded.get(key, defaults.get(key)), now.get(key)
        if old == new or (key.startswith("space.") and _is_widened(old, new)):
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


def check_fingerprints(
    of: str, recorded: Mapping[str, Any], here: Mapping[str, str], why: str
) -> None:
    """Refuse photos or an extractor that are not the recorded ones (`StudyMismatchError`).

    Args:
        of: what has recorded them.
        recorded: fingerprints by `data` and `extractor`.
        here: those of now.
        why: why they must be the same, as the end of the sentence.
    """
    for what, fingerprint in here.items():
        if (before := recorded.get(what)) != fingerprint:
            named = {"data": "photos", "extractor": "extractor"}[what]
            raise StudyMismatchError(
                f"the {named} of {of} had the fingerprint {str(before)[:12]}, now "
                f"{fingerprint[:12]}; restore them, because {why}"
            )


def _is_widened(old: Any, new: Any) -> bool:
    """Whether a range holds all values of the one it replaces (same type, step and scale)."""
    if not isinstance(old, dict) or not isinstance(new, dict) or old.get("type") == "categorical":
        return False
    same = all(old.get(key) == new.get(key) for key in ("type", "step", "log"))
    if not (same and new["low"] <= old["low"] and old["high"] <= new["high"]):
        return False
    steps = (old["low"] - new["low"]) / (old.get("step") or 1)
    return not old.get("step") or math.isclose(steps, round(steps), abs_tol=1e-9)
