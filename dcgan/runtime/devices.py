"""Devices: which one a run uses, how many processors there are, out-of-memory errors."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dcgan.errors import OutOfMemoryError, UsageError


def resolve_device(name: str) -> torch.device:
    """Turn `auto|cpu|cuda|mps` into a device. Raises `UsageError` if there is none here."""
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((kind for kind, there in present.items() if there), "cpu")
    if not present.get(name, True):
        kind = {"cuda": "CUDA", "mps": "Apple"}[name]
        raise UsageError(f"train.device is {name} but torch sees no {kind} GPU; use auto or cpu")
    return torch.device(name)


def processors() -> int:
    """The number of processors this process may use."""
    if hasattr(os, "sched_getaffinity"):  # a container or Slurm may allow fewer than there are
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def clear_memory_errors() -> Iterator[None]:
    """Turn an out-of-memory failure of the device or the machine into an `OutOfMemoryError`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and not re.search("not enough memory|out of memory", str(error)):
            raise
        raise OutOfMemoryError(
            "out of memory; lower train.batch_size, model.ngf, model.ndf or data.image_size"
        ) from error


def describe_environment(device: torch.device) -> dict[str, str | int]:
    """What results depend on besides the config. It is recorded with every result."""
    processor = platform.processor() or platform.machine()
    return {
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else processor,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.system(),
    }
