"""Devices: which one a run uses, how many processors there are, out-of-memory errors."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dcgan.errors import OutOfMemoryError, UsageError


def resolve_device(name: str) -> torch.device:
    """Turn `auto|cpu|cuda|mps` into a device that exists here.

    Raises:
        UsageError: the named device is not available on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cpu" and torch.backends.mps.is_available():
            name = "mps"
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("train.device is cuda but torch sees no CUDA GPU; use auto or cpu")
    if name == "mps" and not torch.backends.mps.is_available():
        raise UsageError("train.device is mps but torch sees no Apple GPU; use auto or cpu")
    return torch.device(name)


def processors() -> int:
    """The number of processors this process may use."""
    if hasattr(os, "sched_getaffinity"):  # a container or Slurm may allow fewer than there are
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def clear_memory_errors() -> Iterator[None]:
    """Turn an out-of-memory failure of the device or the machine into one sentence.

    Raises:
        OutOfMemoryError: naming the settings that shrink the need.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _out_of_memory() from error
    except RuntimeError as error:
        if "not enough memory" in str(error) or "out of memory" in str(error):
            raise _out_of_memory() from error
        raise


def _out_of_memory() -> OutOfMemoryError:
    return OutOfMemoryError(
        "out of memory; lower train.batch_size, model.ngf, model.ndf or data.image_size"
    )


def describe_environment(device: torch.device) -> dict[str, str | int]:
    """What numbers may depend on besides the config. It is recorded with every result."""
    name = platform.processor() or platform.machine()
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    return {
        "device": device.type,
        "device_name": name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.system(),
    }
