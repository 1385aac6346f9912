"""Processor time and memory of the process that trains."""

from __future__ import annotations

import os
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
    while sum(os.times()[:2]) < before + 0.2:
        sum(range(1000))
    expected = 100 * (sum(os.times()[:2]) - before) / (time.monotonic() - begun)
    assert meter.look(CPU).cpu_percent == pytest.approx(expected, rel=0.2)


def test_the_peak_of_memory_is_that_of_the_system() -> None:
    before = UsageMeter().look(CPU).memory_peak_mib
    block = np.ones(300 * 2**20, np.uint8)
    usage = UsageMeter().look(CPU)
    assert block[-1] == 1
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM"))
    assert usage.memory_peak_mib == pytest.approx(int(peak.split()[1]) / 1024, rel=0.02)
    assert usage.memory_peak_mib >= before
    assert usage.gpu_memory_peak_mib is None
