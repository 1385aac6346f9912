"""Freed memory is kept: the same arrays, taken again, cost no new pages."""

from __future__ import annotations

import subprocess
import sys

import pytest

COUNT_FAULTS = """
import resource, sys, numpy as np
from dcgan.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def take():
    arrays = [np.ones(1 << 20) for _ in range(8)]  # 64 MiB
take()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
take()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_arrays_taken_again_fault_no_pages() -> None:
    def faults(how: str) -> int:
        command = [sys.executable, "-c", COUNT_FAULTS, how]
        return int(subprocess.run(command, capture_output=True, check=True).stdout)

    kept, given_back = faults("keep"), faults("default")
    assert given_back > 30  # 64 MiB are 16,384 pages, or 32 huge ones
    assert kept < given_back / 4
