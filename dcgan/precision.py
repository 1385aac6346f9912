"""How many digits of float32 a CUDA GPU multiplies with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch


@contextmanager
def float32_products(kind: Literal["ieee", "tf32"]) -> Iterator[None]:
    """All 24 bits of each factor (`ieee`) or 11 of them, many times faster (`tf32`).

    By default torch multiplies so in convolutions but not in matrix products.
    """
    # set at import time, so unknown to type checkers
    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = kind
        yield
    finally:
        for backend, kept in zip(backends, before, strict=True):
            backend.fp32_precision = kept


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """No autocast and no TF32: for whatever a score depends on."""
    with float32_products("ieee"), torch.autocast(device.type, enabled=False):
        yield
