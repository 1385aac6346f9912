"""Parts of torch without its compiler, which they import only to be left alone by it.

That import takes one and a half to two seconds of every process that trains, and nothing here is
compiled. The numbers are torch's, bit for bit.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import torch


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """As torch's function of this name, which also tells the compiler, and so imports it.

    Whoever imports the compiler later, as an extractor of one's own may, tells it so himself
    (`TORCHINDUCTOR_DETERMINISTIC=1`).
    """
    # Where torch has this function no more, its public one does, only later.
    set_mode = getattr(torch._C, "_set_deterministic_algorithms", None)
    if set_mode is None or "torch._inductor" in sys.modules:
        set_mode = torch.use_deterministic_algorithms
    set_mode(mode, warn_only=warn_only)


def _bare(method: Callable[..., Any]) -> Any:
    """A method of torch's without the wrappers that ask the compiler to skip it."""
    return inspect.unwrap(method)


class Adam(torch.optim.Adam):
    """torch's Adam, not to be used inside `torch.compile`."""

    add_param_group = _bare(torch.optim.Adam.add_param_group)
    zero_grad = _bare(torch.optim.Adam.zero_grad)
    state_dict = _bare(torch.optim.Adam.state_dict)
    load_state_dict = _bare(torch.optim.Adam.load_state_dict)
    step = torch.no_grad()(_bare(torch.optim.Adam.step))
