"""What this process uses: processor time and memory."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch

STATUS = Path("/proc/self/status")


class Usage(NamedTuple):
    """Processor time and memory of a process, which may have trained before."""

    cpu_percent: float
    """Processor time over wall time since the last look: 100 for each core that was busy."""
    memory_peak_mib: float
    """The most memory (resident set) that the process has used so far."""
    gpu_memory_peak_mib: float | None
    """The most memory that torch allocated on the GPU since the last look; None without one."""


class UsageMeter:
    """Measures this process from look to look."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def look(self, device: torch.device) -> Usage:
        """The usage since the last look, or since this object was made, on a device."""
        wall, cpu = time.monotonic(), time.process_time()
        share = (cpu - self._cpu) / max(wall - self._wall, 1e-9)
        self._wall, self._cpu = wall, cpu
        gpu = None
        if device.type == "cuda":
            gpu = torch.cuda.max_memory_allocated(device) / 2**20
            torch.cuda.reset_peak_memory_stats(device)
        return Usage(100 * share, _peak_mib(), gpu)


def _peak_mib() -> float:
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # there in bytes
    # Not ru_maxrss: a process takes that of the one that started it along.
    lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    (peak,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 2**10
