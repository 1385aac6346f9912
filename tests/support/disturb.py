"""Trouble inside a training step, caused from outside by a hook on the discriminator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

CALLS_PER_STEP = 3
"""Of the discriminator: on photos, on fakes, and on fakes for the generator."""


@contextmanager
def at_step(step: int, act: Callable[[nn.Sequential], object]) -> Iterator[None]:
    """Call `act` with the discriminator when a training step begins, counted from 1 from now on."""
    calls = [0]

    def before(module: nn.Module, inputs: Any) -> None:
        if not (isinstance(module, nn.Sequential) and isinstance(module[-1], nn.Flatten)):
            return
        if module.training:
            calls[0] += 1
            if calls[0] == CALLS_PER_STEP * (step - 1) + 1:
                act(module)

    hook = register_module_forward_pre_hook(before)
    try:
        yield
    finally:
        hook.remove()


def make_infinite(discriminator: nn.Sequential) -> None:
    """Give it a weight with which its logits are not finite."""
    with torch.no_grad():
        discriminator[-2].weight.fill_(float("inf"))  # type: ignore[operator, union-attr]
