"""Which iterations count for the balance, what the ratio is, and the table of the score."""

import math

import numpy as np
import pytest
import torch

from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics.balance import log_loss_ratio
from study.search.objective import penalised_score


def test_equal_losses_are_in_balance():
    assert log_loss_ratio(np.full(60, math.log(2)), np.full(60, math.log(2))) == 0.0


@pytest.mark.parametrize(
    ("loss_g", "loss_d", "ratio"),
    [
        ([2.0, 4.0], [1.0, 1.0], math.log(3.0)),
        ([1.0, 1.0], [1.0, 7.0], -math.log(4.0)),
        ([0.5], [0.25], math.log(2.0)),
        ([0.0, 0.0], [1.0, 1.0], math.log(1e-12)),
        ([1.0], [0.0], math.log(1e12)),
        ([0.0], [0.0], 0.0),
        ([1e300, 1e300], [1e-300, 1e-300], math.log(1e300) - math.log(1e-12)),
    ],
)
def test_ratio_of_means(loss_g, loss_d, ratio):
    loss_g, loss_d = np.array(loss_g), np.array(loss_d)
    assert log_loss_ratio(loss_g, loss_d) == pytest.approx(ratio, rel=1e-12)
    assert abs(log_loss_ratio(loss_g, loss_d)) == pytest.approx(abs(ratio), rel=1e-12)
    assert abs(log_loss_ratio(loss_d, loss_g)) == pytest.approx(abs(ratio), rel=1e-12)


@pytest.mark.parametrize(
    ("iterations", "window"),
    [(1, 1), (10, 10), (50, 50), (51, 51), (52, 51), (101, 51), (102, 51), (103, 52), (204, 102)],
)
def test_window_is_the_second_half_but_at_least_51(iterations, window):
    # loss_G is 1 but 1 + window at one iteration: its mean is 2 inside the window, 1 before it
    for position, expected in [(iterations - window, math.log(2.0)), (iterations - 1, None)]:
        loss_g = np.ones(iterations)
        loss_g[position] += window
        expected = math.log(2.0) if expected is None else expected
        assert log_loss_ratio(loss_g, np.ones(iterations)) == pytest.approx(expected, rel=1e-12)
    if window < iterations:
        loss_g = np.ones(iterations)
        loss_g[iterations - window - 1] += window
        assert log_loss_ratio(loss_g, np.ones(iterations)) == 0.0


def test_takes_float32_tensors():
    loss_g, loss_d = torch.full((3,), 2.0), torch.full((3,), 0.5)
    assert abs(log_loss_ratio(loss_g, loss_d)) == pytest.approx(math.log(4.0), rel=1e-12)


@pytest.mark.parametrize(
    ("loss_g", "loss_d", "message"),
    [
        ([], [], "at least one"),
        ([[1.0]], [[1.0]], "one value for each iteration"),
        ([1.0, 2.0], [1.0], "loss_g has 2 iterations but loss_d 1"),
        ([1.0, math.nan], [1.0, 1.0], "loss_g must be finite.*nan at iteration 1"),
        ([1.0, 1.0], [math.inf, 1.0], "loss_d must be finite.*inf at iteration 0"),
        ([1.0], [-0.5], "loss_d must be finite and at least 0 but is -0.5"),
    ],
)
def test_refuses_losses(loss_g, loss_d, message):
    with pytest.raises(EvaluationError, match=message):
        log_loss_ratio(np.array(loss_g), np.array(loss_d))


@pytest.mark.parametrize(
    ("distance", "imbalance", "score"),
    [
        pytest.param(40.0, 0.0, 40.0, id="balanced"),
        pytest.param(40.0, 1.1, 40.0, id="the reference recipe: inside"),
        pytest.param(40.0, 1.5, 40.0, id="at the tolerance"),
        pytest.param(40.0, 1.9, 44.0, id="0.4 beyond: × 1.1"),
        pytest.param(40.0, 2.5, 50.0, id="the cap is reached"),
        pytest.param(40.0, 27.0, 50.0, id="collapsed: the cap holds"),
        pytest.param(0.0, 27.0, 0.0, id="zero distance"),
        pytest.param(-0.5, 1.0, -0.5, id="negative, inside"),
        pytest.param(-0.5, 2.5, -0.4, id="negative: imbalance does not help"),
    ],
)
def test_score(distance, imbalance, score):
    result = penalised_score(distance, imbalance, tolerance=1.5, weight=0.25, cap=0.25)
    assert result == pytest.approx(score, rel=1e-12)
    if imbalance <= 1.5:
        assert result == distance


@pytest.mark.parametrize(("weight", "cap"), [(0.0, 0.25), (0.25, 0.0)])
def test_score_without_penalty_is_the_distance(weight, cap):
    assert penalised_score(3.7, 9.0, tolerance=0.0, weight=weight, cap=cap) == 3.7


@pytest.mark.parametrize(
    "changed",
    [
        {"distance": math.nan},
        {"distance": math.inf},
        {"imbalance": math.nan},
        {"imbalance": -0.1},
        {"tolerance": -1.0},
        {"weight": math.inf},
        {"cap": -0.25},
    ],
)
def test_score_refuses(changed):
    values = {"distance": 1.0, "imbalance": 1.0, "tolerance": 1.5, "weight": 0.25, "cap": 0.25}
    with pytest.raises(EvaluationError, match=r"must be finite.*but got"):
        penalised_score(**(values | changed))
