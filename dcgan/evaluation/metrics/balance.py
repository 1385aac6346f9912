"""The balance of a run's generator and discriminator."""

from __future__ import annotations

import math

from torch import Tensor

from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics.matrix import ArrayLike, as_float64

MIN_WINDOW = 51
"""Iterations averaged at least: over fewer, two seeds of one recipe differ by a factor 2."""
SMALLEST_LOSS = 1e-12
"""Mean losses below this count as this, so that a loss of exactly 0 gives a finite ratio."""


def log_loss_ratio(loss_g: ArrayLike, loss_d: ArrayLike) -> float:
    """ln(mean loss_G / mean loss_D) over the second half of the iterations so far.

    Above 0 the discriminator is ahead; 0 is the equilibrium of the game, where both are ln 2. The
    window is the second half (the middle one included), at least the last `MIN_WINDOW`
    iterations, or all there are when fewer.

    Args:
        loss_g: (iterations,) the generator's BCE of every iteration so far, >= 0.
        loss_d: (iterations,) the discriminator's: the *mean* of its BCE on real and on fake
            images (the history keeps their sum), >= 0.

    Returns:
        A finite float; means are taken as at least `SMALLEST_LOSS`.

    Raises:
        EvaluationError: no iterations, different lengths, negative or non-finite losses.
    """
    losses_g, losses_d = _checked(loss_g, "loss_g"), _checked(loss_d, "loss_d")
    if len(losses_g) != len(losses_d):
        raise EvaluationError(
            f"loss_g has {len(losses_g)} iterations but loss_d {len(losses_d)}; both are needed "
            "for every iteration"
        )
    iterations = len(losses_g)
    window = max(MIN_WINDOW, math.ceil(iterations / 2))
    mean_g, mean_d = float(losses_g[-window:].mean()), float(losses_d[-window:].mean())
    return math.log(max(mean_g, SMALLEST_LOSS)) - math.log(max(mean_d, SMALLEST_LOSS))


def _checked(losses: ArrayLike, name: str) -> Tensor:
    values = as_float64(losses)
    if values.ndim != 1 or not len(values):
        raise EvaluationError(
            f"{name} must hold one value for each iteration so far, at least one, "
            f"but has the shape {tuple(values.shape)}"
        )
    bad = (~(values.isfinite() & (values >= 0.0))).nonzero().flatten().tolist()
    if bad:
        raise EvaluationError(
            f"{name} must be finite and at least 0 but is {values[bad[0]]} at iteration {bad[0]}"
        )
    return values
