"""Freed memory is kept, so the same arrays cost no new pages; how much memory there is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dcgan.runtime.memory import available_memory

COUNT_FAULTS = """
import resource, sys, numpy as np
from dcgan.runtime.memory import keep_freed_memory
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


def lay_out(system: Path, files: dict[str, str]) -> None:
    """Write these files, as `/proc` and `/sys` hold them."""
    for name, text in files.items():
        (system / name).parent.mkdir(parents=True, exist_ok=True)
        (system / name).write_text(text)


def group(name: str, limit: str, used: int, files: int) -> dict[str, str]:
    """A control group with this limit, what is in use, and that part of it which are files."""
    folder = f"sys/fs/cgroup/{name}"
    return {
        f"{folder}/memory.max": f"{limit}\n",
        f"{folder}/memory.current": f"{used}\n",
        f"{folder}/memory.stat": f"anon {used - files}\ninactive_file {files}\n",
    }


MEMINFO = {"proc/meminfo": "MemTotal: 2000 kB\nMemFree: 10 kB\nMemAvailable: 1000 kB\n"}
OWN = {"proc/self/cgroup": "0::/job/step\n"}
FREE = 1000 * 1024


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({}, None),
        (MEMINFO, FREE),
        ({"proc/meminfo": "MemFree: 10 kB\n"}, None),
        (MEMINFO | OWN, FREE),  # no control group counts memory
        (MEMINFO | OWN | group("job/step", "max", 5000, 100), FREE),
        (MEMINFO | OWN | group("job/step", "90000", 50000, 2000), 42000),
        (MEMINFO | OWN | group("job", "90000", 50000, 2000), 42000),  # the one around ours
        (MEMINFO | OWN | group("other", "90000", 50000, 2000), FREE),
        (MEMINFO | OWN | group("job/step", "4000", 5000, 100), 0),
        (OWN | group("", "90000", 50000, 0), 40000),  # as a container sees its own
        (MEMINFO | {"proc/self/cgroup": "5:memory:/job\n"}, FREE),  # version 1
    ],
)
def test_available_memory(tmp_path: Path, files: dict[str, str], left: int | None) -> None:
    lay_out(tmp_path, files)
    assert available_memory(tmp_path) == left


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="read from /proc")
def test_available_memory_here() -> None:
    left = available_memory()
    assert left is not None
    assert 2**24 < left < 2**50
