"""What more trials may gain, against plain simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from study.evidence.gain import possible_gain


@pytest.mark.parametrize(
    ("spread", "more", "count"), [(0.5, 1, 10), (0.5, 12, 20), (0.1, 12, 12), (1.0, 100, 10)]
)
def test_nine_times_in_ten_further_trials_gain_no_more(
    spread: float, more: int, count: int
) -> None:
    """Over many studies of normal ln(scores)."""
    rng, held = np.random.default_rng(0), []
    for _ in range(500):
        centre = rng.normal()
        logs = rng.normal(centre, spread, count)
        told = possible_gain(list(np.exp(logs)), float(np.exp(logs.min())), more)
        assert told is not None
        held.append(logs.min() - rng.normal(centre, spread, more).min() <= told)
    # One further trial of the spread is seldom below the best of all: then 0 is told, and holds.
    assert 0.86 < np.mean(held) < (0.94 if more > 1 else 0.97)


def test_it_falls_as_the_best_gets_better_and_grows_with_the_trials() -> None:
    scores = list(np.exp(np.random.default_rng(2).normal(0, 0.4, 12)))
    gains = [possible_gain(scores, best, 10) for best in (1.0, 0.5, 0.25)]
    assert gains == sorted(gains, reverse=True)  # type: ignore[type-var]
    more = [possible_gain(scores, 0.5, count) for count in (1, 10, 100)]
    assert more == sorted(more)  # type: ignore[type-var]


def test_only_the_last_scores_count() -> None:
    scores = list(np.exp(np.random.default_rng(2).normal(0, 0.4, 20)))
    assert possible_gain([1000.0] * 5 + scores, 0.5, 3) == possible_gain(scores, 0.5, 3)


@pytest.mark.parametrize("scores", [[1.0] * 9, [], [-1.0] + [1.0] * 9])
def test_little_says_nothing(scores: list[float]) -> None:
    assert possible_gain(scores, 0.5, 3) is None


def test_scores_of_no_spread_promise_nothing_below_them() -> None:
    assert possible_gain([2.0] * 10, 2.0, 50) == pytest.approx(0.0, abs=1e-12)
    assert math.isclose(possible_gain([2.0] * 10, 4.0, 50) or 0, math.log(2))
