"""The losses against the formulas of their papers, in NumPy, and their optima."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dcgan.training.losses import LOSSES, as_bce

LOGITS = torch.tensor([[-3.0, -1.0, -0.5], [0.0, 0.25, 2.0]], dtype=torch.float64)


def test_hinge_is_the_published_one() -> None:
    x, hinge = LOGITS.numpy(), LOSSES["hinge"]
    assert float(hinge.real(LOGITS)) == pytest.approx(np.mean(np.maximum(0, 1 - x)))
    assert float(hinge.fake(LOGITS)) == pytest.approx(np.mean(np.maximum(0, 1 + x)))
    assert float(hinge.fooled(LOGITS)) == pytest.approx(-np.mean(x))


def test_bce_is_the_published_one() -> None:
    p, bce = 1 / (1 + np.exp(-LOGITS.numpy())), LOSSES["bce"]
    assert float(bce.real(LOGITS)) == pytest.approx(-np.mean(np.log(p)))
    assert float(bce.fake(LOGITS)) == pytest.approx(-np.mean(np.log(1 - p)))
    assert float(bce.fooled(LOGITS)) == pytest.approx(-np.mean(np.log(p)))


@pytest.mark.parametrize("kind", LOSSES)
def test_each_loss_pulls_the_right_way(kind: str) -> None:
    for name, sign in (("real", -1), ("fake", 1), ("fooled", -1)):
        logits = torch.zeros(4, requires_grad=True)
        (slope,) = torch.autograd.grad(getattr(LOSSES[kind], name)(logits), logits)
        assert bool((slope.sign() == sign).all()), name


def test_hinge_leaves_clear_images_alone() -> None:
    clear = torch.tensor([1.5, 30.0], requires_grad=True)
    (slope,) = torch.autograd.grad(LOSSES["hinge"].real(clear), clear)
    assert slope.tolist() == [0, 0]


@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize("kind", LOSSES)
def test_what_is_not_finite_stays_so(kind: str, value: float) -> None:
    for logits in (torch.tensor([value, 0.0]), torch.tensor([-value, 0.0])):
        losses: list[Tensor] = [function(logits) for function in LOSSES[kind]]
        assert not all(map(math.isfinite, map(float, losses)))


def test_the_kept_losses_are_cross_entropies() -> None:
    zero = torch.zeros(2, 3)
    loss_d, loss_g = as_bce(zero, zero, zero)
    assert float(loss_d) == pytest.approx(2 * math.log(2))
    assert float(loss_g) == pytest.approx(math.log(2))
