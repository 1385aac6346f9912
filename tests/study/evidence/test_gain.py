"""What more trials are expected to gain, against plain simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from study.evidence.gain import expected_gain


@pytest.mark.parametrize(("spread", "more"), [(0.5, 1), (0.5, 12), (0.1, 12), (1.0, 100)])
def test_it_is_what_further_trials_gain_on_average(spread: float, more: int) -> None:
    """Over many studies of normal ln(scores), told and true gain agree on average."""
    rng, told, true = np.random.default_rng(0), [], []
    for _ in range(400):
        centre = rng.normal()
        logs = rng.normal(centre, spread, 10)
        gain = expected_gain(list(np.exp(logs)), float(np.exp(logs.min())), more)
        assert gain is not None
        told.append(gain)
        further = rng.normal(centre, spread, (200, more)).min(axis=1)
        true.append(np.maximum(logs.min() - further, 0).mean())
    # Unknown spread has heavy tails, so what is told is a little more.
    assert 0.95 * np.mean(true) < np.mean(told) < 1.45 * np.mean(true)


def test_it_falls_as_the_best_gets_better_and_grows_with_the_trials() -> None:
    scores = list(np.exp(np.random.default_rng(2).normal(0, 0.4, 12)))
    gains = [expected_gain(scores, best, 10) for best in (1.0, 0.5, 0.25)]
    assert gains == sorted(gains, reverse=True)  # type: ignore[type-var]
    more = [expected_gain(scores, 0.5, count) for count in (1, 10, 100)]
    assert more == sorted(more)  # type: ignore[type-var]


def test_only_the_last_scores_count() -> None:
    scores = list(np.exp(np.random.default_rng(2).normal(0, 0.4, 10)))
    assert expected_gain([1000.0] * 5 + scores, 0.5, 3) == expected_gain(scores, 0.5, 3)


@pytest.mark.parametrize("scores", [[1.0] * 9, [], [-1.0] + [1.0] * 9])
def test_little_says_nothing(scores: list[float]) -> None:
    assert expected_gain(scores, 0.5, 3) is None


def test_scores_of_no_spread_promise_nothing_below_them() -> None:
    assert expected_gain([2.0] * 10, 2.0, 50) == pytest.approx(0.0, abs=1e-12)
    assert math.isclose(expected_gain([2.0] * 10, 4.0, 50) or 0, math.log(2))
