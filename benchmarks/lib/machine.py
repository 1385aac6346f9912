"""The machine a benchmark ran on: versions, processors, and its rate at matrix products."""

from __future__ import annotations

import os
import platform
import resource
import time
from importlib.metadata import version
from typing import Any

import torch


def describe(device: torch.device) -> dict[str, Any]:
    """Versions, cores and threads; do not compare figures of different machines."""
    described: dict[str, Any] = {
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
    }
    if device.type == "cuda":
        described["gpu"] = torch.cuda.get_device_name(device)
    return described


def matrix_rate(
    device: torch.device, kind: torch.dtype = torch.float32, seconds: float = 1.0
) -> float:
    """Billions of operations per second in products of two 2048 × 2048 matrices of a type.

    The fastest product counts: it is what the machine does when nothing disturbs it.
    """
    side = 2048
    left, right = torch.randn(2, side, side, device=device).to(kind)
    left @ right
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        synchronise(device)
        start = time.perf_counter()
        left @ right
        synchronise(device)
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best / 1e9


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has finished its work; a CPU has no queue."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_mib(device: torch.device) -> float:
    """The most memory of this process so far, in MiB: what torch held on a GPU, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
