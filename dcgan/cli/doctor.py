"""`dcgan doctor`: what runs depend on, line by line, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable

from dcgan.cli.console import say
from dcgan.cli.tables import planned_extractor
from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig
from dcgan.evaluation.extractors.weights import WEIGHTS_VARIABLE, offline, weights_at_hand
from dcgan.runtime.health import Check, Finding, cache, device, disk, examine, versions


def print_health(checks: Iterable[Check] | None = None) -> int:
    """Run checks and print a line for each finding. Nothing is changed.

    Args:
        checks: the checks (default: what runs depend on).

    Returns:
        Exit code: 1 if there is a fault, else 0.
    """
    faults = 0
    for finding in examine(CHECKS if checks is None else checks):
        faults += finding.state == "fault"
        say(f"{finding.state:8} {finding.text}")
    return int(faults > 0)


def _offline_extractor() -> Finding:
    config = override(TrainConfig(), {"eval.extractor": "layout"}, "eval.extractor")
    return Finding("ok", planned_extractor(config))


def _inception() -> Finding:
    config = override(TrainConfig(), {"eval.extractor": "inception"}, "eval.extractor")
    if not weights_at_hand(None) and offline():
        return Finding(
            "warning",
            "Inception's weights are not at hand and DCGAN_OFFLINE is set, so auto means layout; "
            f"name a file that holds them with {WEIGHTS_VARIABLE} or --weights for fid",
        )
    state = "ok" if weights_at_hand(None) else "warning"
    return Finding(state, planned_extractor(config))


CHECKS: tuple[Check, ...] = (versions, device, _offline_extractor, _inception, cache, disk)
