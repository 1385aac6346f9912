"""What this process uses: processor time and memory."""

from __future__ import annotations

import resource
import sys
import time
from typing import NamedTuple

import torch

MAXRSS_PER_MIB = 2**20 if sys.platform == "darwin" else 2**10
"""`ru_maxrss` is in bytes there, in KiB elsewhere."""


class Usage(NamedTuple):
    """Processor time since the last look, and the peaks of memory so far."""

    cpu_percent: float
    """Processor time over wall time: 100 for each core that was busy."""
    memory_peak_mib: float
    """The most memory (resident set) that the process has used."""
    gpu_memory_peak_mib: float | None
    """The most memory that torch has allocated on the GPU; None without one."""


class UsageMeter:
    """Measures this process from look to look."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def look(self, device: torch.device) -> Usage:
        """The usage since the last look, or since this object was made, on a device."""
        wall, cpu = time.monotonic(), time.process_time()
        share = (cpu - self._cpu) / max(wall - self._wall, 1e-9)
        self._wall, self._cpu = wall, cpu
        on_gpu = device.type == "cuda"
        return Usage(
            100 * share,
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MAXRSS_PER_MIB,
            torch.cuda.max_memory_allocated(device) / 2**20 if on_gpu else None,
        )
