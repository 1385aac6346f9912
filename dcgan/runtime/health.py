"""Checks of the machine: versions, device, cache, disk. They change and print nothing."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch

from dcgan.runtime.cache import cache_folder
from dcgan.runtime.devices import resolve_device
from dcgan.runtime.files import size_of, why_unwritable

FREE_GB_NEEDED = 2.0


class Finding(NamedTuple):
    """One line of a report. `state` is `ok`, `warning` (runs still work) or `fault`."""

    state: str
    text: str


Check = Callable[[], Finding | list[Finding]]
"""A `DcganError` that it raises counts as a fault."""


def versions(*more: str) -> Finding:
    """The versions of Python, of the packages that results depend on and of `more` packages."""
    names = ("torch", "torchvision", "numpy", *more)
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    return Finding("ok", f"Python {platform.python_version()}, {packages}")


def device() -> Finding:
    """The device that `auto` chooses for training."""
    chosen = resolve_device("auto")
    if chosen.type == "cpu":
        return Finding("ok", f"device: cpu, {torch.get_num_threads()} threads (no GPU)")
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else "Apple GPU"
    return Finding("ok", f"device: {chosen.type} ({name})")


def cache() -> Finding:
    """Whether decoded photos can be cached."""
    folder = cache_folder()
    if problem := why_unwritable(folder):
        return Finding(
            "warning",
            f"cache {folder} cannot be used ({problem}), so photos are decoded at every start; set "
            "DCGAN_CACHE to a folder that can be written",
        )
    used = size_of(folder) / 1e6
    return Finding("ok", f"cache {folder}: {used:,.0f} MB of decoded photos and features")


def disk(
    folder: Path | None = None,
    needs: str = "a run at 64×64 keeps 30 MB of pictures and a checkpoint of 50 to 200 MB",
    *,
    enough_gb: float = FREE_GB_NEEDED,
) -> Finding:
    """Free space in an existing folder (default: the working one); a warning adds `needs`."""
    here = folder or Path.cwd()
    free = shutil.disk_usage(here).free / 1e9
    text = f"{free:,.1f} GB free in {here}"
    return Finding("warning", f"{text}; {needs}") if free < enough_gb else Finding("ok", text)
