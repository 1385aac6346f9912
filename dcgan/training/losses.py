"""What discriminator and generator minimise, as functions of D's logits (above 0: looks real)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class Loss(NamedTuple):
    """Three losses of logits of any shape, each a mean, `()`."""

    real: Callable[[Tensor], Tensor]
    """D's, on real photos."""
    fake: Callable[[Tensor], Tensor]
    """D's, on fakes."""
    fooled: Callable[[Tensor], Tensor]
    """G's, on fakes."""


def bce_if_real(logits: Tensor) -> Tensor:
    """Mean binary cross-entropy against the label "real": −log σ(x)."""
    return -F.logsigmoid(logits).mean()


def bce_if_fake(logits: Tensor) -> Tensor:
    """Mean binary cross-entropy against the label "fake": −log(1 − σ(x))."""
    return -F.logsigmoid(-logits).mean()


LOSSES = {
    # Goodfellow et al. 2014, arXiv:1406.2661; G's is the non-saturating one.
    "bce": Loss(bce_if_real, bce_if_fake, bce_if_real),
    # Lim & Ye 2017, "Geometric GAN", arXiv:1705.02894, equations 9 and 10.
    "hinge": Loss(
        lambda logits: F.relu(1 - logits).mean(),
        lambda logits: F.relu(1 + logits).mean(),
        lambda logits: -logits.mean(),
    ),
}
"""The losses by the name that `loss.kind` has."""


def as_bce(real: Tensor, fake: Tensor, fooled: Tensor) -> tuple[Tensor, Tensor]:
    """What `bce` would be for logits, D's and G's: the losses that a history keeps.

    With them, runs that minimise different losses compare, and an equilibrium has a value.
    """
    bce = LOSSES["bce"]
    return bce.real(real) + bce.fake(fake), bce.fooled(fooled)
