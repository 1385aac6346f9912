"""Processor time and memory of the process that trains."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from dcgan.runtime.usage import UsageMeter

CPU = torch.device("cpu")


def test_processor_time_is_that_of_the_system_and_counts_from_look_to_look() -> None:
    meter = UsageMeter()
    time.sleep(0.3)
    assert meter.look(CPU).cpu_percent < 50
    begun, before = time.monotonic(), sum(os.times()[:2])
    while sum(os.times()[:2]) < before + 0.5:
        sum(range(1000))
    spent, passed = sum(os.times()[:2]) - before, time.monotonic() - begun
    found = meter.look(CPU).cpu_percent
    # The clocks of the system tick every 10 ms, and a busy machine may pause this process between.
    longest = time.monotonic() - begun
    assert 100 * (spent - 0.05) / longest < found < 100 * (spent + 0.1) / passed


def test_the_peak_of_memory_is_that_of_the_system() -> None:
    before = UsageMeter().look(CPU).memory_peak_mib
    block = np.ones(300 * 2**20, np.uint8)
    usage = UsageMeter().look(CPU)
    assert block[-1] == 1
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM"))
    assert usage.memory_peak_mib == pytest.approx(int(peak.split()[1]) / 1024, rel=0.02)
    assert usage.memory_peak_mib >= before
    code = "from dcgan.runtime.usage import UsageMeter; import torch; "
    code += "print(UsageMeter().look(torch.device('cpu')).memory_peak_mib)"
    block = np.ones(1500 * 2**20, np.uint8)  # a child has its own peak, and not this one
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 50 < float(child.stdout) < block.nbytes / 2**20 / 2
    assert usage.gpu_memory_peak_mib is None
