"""Torch's Adam and deterministic switch without importing torch's compiler.

The import of the compiler takes 1.5 to 2 seconds in every process that trains, and no code here is
compiled. The numbers are the same as torch's, bit for bit.
"""

from __future__ import annotations

import sys
from inspect import unwrap

import torch


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Like `torch.use_deterministic_algorithms`, but without configuring the compiler.

    Code that imports the compiler later, such as a custom extractor, must set
    `TORCHINDUCTOR_DETERMINISTIC=1` itself.
    """
    # A torch without this private function falls back to the public one, which is slower.
    set_mode = getattr(torch._C, "_set_deterministic_algorithms", None)
    if set_mode is None or "torch._inductor" in sys.modules:
        set_mode = torch.use_deterministic_algorithms
    set_mode(mode, warn_only=warn_only)


class Adam(torch.optim.Adam):
    """Torch's Adam. Do not use it inside `torch.compile`."""

    # A capturable Adam warns when it first steps outside a CUDA graph. Here the first steps of each
    # batch size do so on purpose, and all steps where graphs are off.
    _warned_capturable_if_run_uncaptured = True

    # Torch's methods are wrapped to tell the compiler to skip them.
    add_param_group = unwrap(torch.optim.Adam.add_param_group)
    zero_grad = unwrap(torch.optim.Adam.zero_grad)
    state_dict = unwrap(torch.optim.Adam.state_dict)
    load_state_dict = unwrap(torch.optim.Adam.load_state_dict)
    step = torch.no_grad()(unwrap(torch.optim.Adam.step))
