"""Independent random streams from one seed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed: a fixed hash of the parts."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def make_rng(device: torch.device | str, *parts: int | str) -> torch.Generator:
    """A random generator on `device`, seeded from the parts."""
    import torch  # late, because callers that only derive seeds need not wait for it

    return torch.Generator(device=device).manual_seed(derive_seed(*parts))
