"""Memory: keep what is freed for reuse, and measure what is available."""

from __future__ import annotations

import ctypes
import re
import sys
from contextlib import suppress
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt(3)


def keep_freed_memory() -> None:
    """Make the C library (glibc) keep freed memory instead of returning it to the system.

    Every step frees and allocates the same large arrays. By default each allocation maps new pages,
    which costs thousands of page faults a step. Without glibc this does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError, AttributeError):  # musl has no mallopt
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        library.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def available_memory(system: Path = Path("/")) -> int | None:
    """Bytes that this process and its children can still use without swapping; None if unknown.

    This is the minimum of what Linux reports as available and of what each control group (version
    2: a container, a batch job) of the process leaves. `system` is the root of the file system
    whose `proc` and `sys` are read.
    """
    amounts = [_group_left(folder) for folder in _own_groups(system)]
    with suppress(OSError):
        meminfo = (system / "proc/meminfo").read_text()
        amounts += [int(kb) * 1024 for kb in re.findall(r"^MemAvailable: *(\d+)", meminfo, re.M)]
    return min((amount for amount in amounts if amount is not None), default=None)


def _own_groups(system: Path) -> list[Path]:
    """The control group of this process and its parents, up to the root."""
    root = system / "sys/fs/cgroup"
    with suppress(OSError):
        for line in (system / "proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::/"):
                own = root / line.removeprefix("0::/")
                return [folder for folder in (own, *own.parents) if folder.is_relative_to(root)]
    return []


def _group_left(group: Path) -> int | None:
    """The group's limit minus its use. Cached files that were not read lately do not count."""
    with suppress(OSError, ValueError, KeyError):
        limit = int((group / "memory.max").read_text())  # the word "max": no limit
        used = int((group / "memory.current").read_text())
        figures = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(0, limit - used + int(figures["inactive_file"]))
    return None
