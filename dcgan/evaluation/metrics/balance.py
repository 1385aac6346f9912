"""The balance of generator and discriminator losses."""

from __future__ import annotations

import math

from torch import Tensor

from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics.matrix import ArrayLike, as_float64

MIN_WINDOW = 51
"""Smallest number of iterations averaged. With fewer, seeds of a recipe differ by a factor 2."""
SMALLEST_LOSS = 1e-12
"""Smallest mean loss, so that a loss of exactly 0 gives a finite ratio."""


def log_loss_ratio(loss_g: ArrayLike, loss_d: ArrayLike) -> float:
    """ln(mean loss_G / mean loss_D) over the second half of the iterations so far.

    Finite; above 0 the discriminator is ahead. 0 is the equilibrium of the game, where both are
    ln 2. The window includes the middle iteration and at least the last `MIN_WINDOW`, if there are
    so many. Raises `EvaluationError` for no iterations, different lengths, negative or non-finite
    losses.

    Args:
        loss_g: (iterations,) the generator's BCE, >= 0.
        loss_d: (iterations,) the *mean* of the discriminator's BCE on real and on fake images, >= 0
            (the history keeps their sum).

    Examples:
        >>> round(log_loss_ratio(Tensor([1.4]), Tensor([0.7])), 3)
        0.693
    """
    losses_g, losses_d = _checked(loss_g, "loss_g"), _checked(loss_d, "loss_d")
    if len(losses_g) != len(losses_d):
        raise EvaluationError(
            f"loss_g has {len(losses_g)} iterations but loss_d {len(losses_d)}; both are needed "
            "for every iteration"
        )
    window = max(MIN_WINDOW, math.ceil(len(losses_g) / 2))
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
