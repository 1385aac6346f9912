"""The numerics of a run: deterministic algorithms, CPU threads, precision of float32 products."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import torch

from dcgan.runtime.lean_torch import use_deterministic_algorithms
from dcgan.runtime.memory import keep_freed_memory


class NumericSettings(Protocol):
    """What `numerics` reads of `config.train`, which says what each value means."""

    @property
    def deterministic(self) -> bool: ...
    @property
    def threads(self) -> int | None: ...
    @property
    def precision(self) -> Literal["auto", "fp32", "tf32", "bf16"]: ...


@contextmanager
def float32_products(kind: Literal["ieee", "tf32"]) -> Iterator[None]:
    """Multiply float32 on a CUDA GPU with all 24 bits (`ieee`) or with 11 bits (`tf32`, faster).

    Torch's default is `tf32` in convolutions and `ieee` in matrix products.
    """
    # Torch sets these attributes at import time, so type checkers do not know them.
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
    """Switch autocast and TF32 off. Every score is computed under this."""
    with float32_products("ieee"), torch.autocast(device.type, enabled=False):
        yield


@contextmanager
def numerics(settings: NumericSettings) -> Iterator[None]:
    """Set algorithms, thread count and precision for a run, and restore them afterwards."""
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        torch.get_num_threads(),
        torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
    )
    if settings.deterministic:
        # cuBLAS reads this when the first CUDA context is made.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    use_deterministic_algorithms(settings.deterministic)
    torch.backends.cudnn.benchmark = not settings.deterministic
    # This debugging aid costs a few percent. No code here reads memory it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    keep_freed_memory()
    try:
        with float32_products("ieee" if settings.precision == "fp32" else "tf32"):
            yield
    finally:
        use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = before[2]
        torch.set_num_threads(before[3])
        torch.utils.deterministic.fill_uninitialized_memory = before[4]  # type: ignore[attr-defined]
