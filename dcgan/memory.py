"""How the process treats memory it has freed."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt(3)."""


def keep_freed_memory() -> None:
    """Have the C library (glibc) keep freed memory instead of giving it back to the system.

    A step frees and takes the same arrays of some megabytes again and again; by default each time
    means new pages: thousands of page faults a step of the reference recipe. The process' peak does
    not change. Elsewhere than on Linux with glibc nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError, AttributeError):  # no glibc: musl has no mallopt
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        library.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
