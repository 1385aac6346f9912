"""`dcgan doctor`: what runs depend on, line by line, before anything is trained."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch

from dcgan.cli.console import say
from dcgan.cli.tables import planned_extractor
from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig
from dcgan.errors import DcganError
from dcgan.evaluation.extractors.weights import WEIGHTS_VARIABLE, offline, weights_at_hand
from dcgan.runtime.cache import cache_folder
from dcgan.runtime.devices import resolve_device
from dcgan.runtime.files import why_unwritable

FREE_GB_NEEDED = 2.0


class Finding(NamedTuple):
    """One line of the report."""

    state: str
    """`ok`, `warning` (runs work, something is worse than it could be) or `fault`."""
    text: str


Check = Callable[[], Finding | list[Finding]]


def print_health(checks: Iterable[Check] | None = None) -> int:
    """Check everything and print a line each. Nothing is changed.

    Args:
        checks: what to ask; none: what runs depend on.

    Returns:
        Exit code: 1 if anything is a fault.
    """
    faults = 0
    for check in CHECKS if checks is None else checks:
        try:
            found = check()
        except DcganError as error:
            found = Finding("fault", str(error))
        for finding in [found] if isinstance(found, Finding) else found:
            faults += finding.state == "fault"
            say(f"{finding.state:8} {finding.text}")
    return int(faults > 0)


def versions(*more: str) -> Finding:
    """Python's version and those of the packages that numbers depend on."""
    names = ("torch", "torchvision", "numpy", *more)
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    return Finding("ok", f"Python {platform.python_version()}, {packages}")


def device() -> Finding:
    """Where training would run."""
    chosen = resolve_device("auto")
    if chosen.type == "cpu":
        return Finding("ok", f"device: cpu, {torch.get_num_threads()} threads (no GPU)")
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else "Apple GPU"
    return Finding("ok", f"device: {chosen.type} ({name})")


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


def cache() -> Finding:
    """Whether decoded photos can be kept."""
    folder = cache_folder()
    if problem := why_unwritable(folder):
        return Finding(
            "warning",
            f"cache {folder} cannot be used ({problem}), so photos are decoded at every start; set "
            "DCGAN_CACHE to a folder that can be written",
        )
    used = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Finding("ok", f"cache {folder}: {used / 1e6:,.0f} MB of decoded photos and features")


def disk(folder: Path | None = None) -> Finding:
    """Space for results in a folder that exists (default: the working folder)."""
    here = folder or Path.cwd()
    free = shutil.disk_usage(here).free / 1e9
    text = f"{free:,.1f} GB free in {here}"
    if free < FREE_GB_NEEDED:
        return Finding(
            "warning",
            f"{text}; a study at 64×64 keeps 30 MB of pictures a trial and a few checkpoints of 50 "
            "to 200 MB",
        )
    return Finding("ok", text)


CHECKS: tuple[Check, ...] = (
    versions,
    device,
    _offline_extractor,
    _inception,
    cache,
    disk,
)
