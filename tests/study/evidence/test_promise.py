"""Promised scores, kept as often as stated."""

from __future__ import annotations

import math

import numpy as np
import pytest

from study.evidence.promise import Promise
from study.evidence.race import Noise, stand

PROMISE = Promise(100.0, 90.0, 111.0, 0.15, 3, 200)


def test_the_prediction_adds_the_noise_of_new_trainings() -> None:
    for seeds in (1, 4):
        found = PROMISE.predicted(seeds)
        deviation = math.log(found.high / found.low) / 2 / 1.96
        mean = math.log(111.0 / 90.0) / 2 / 1.96
        assert deviation == pytest.approx(math.hypot(mean, 0.15 / math.sqrt(seeds)), rel=1e-4)
        assert found.value == pytest.approx(math.sqrt(found.low * found.high))


def test_scores_are_compared_by_their_geometric_mean() -> None:
    low, high = PROMISE.predicted(1)[1:]
    assert PROMISE.is_kept([low * 1.001])
    assert not PROMISE.is_kept([low * 0.999])
    assert not PROMISE.is_kept([high * 1.001])
    assert PROMISE.is_kept([80.0, 125.0])
    assert not PROMISE.is_kept([140.0, 141.0, 142.0])


@pytest.mark.parametrize("seeds", [1, 3])
def test_promises_of_leaders_are_kept_as_often_as_stated(seeds: int) -> None:
    """The leader of two seeds each was picked for its scores."""
    rng, spread, kept = np.random.default_rng(4), 0.15, []
    for _ in range(600):
        truth = rng.normal(4.0, 0.15, 4)
        scores = np.exp(truth[:, None] + rng.normal(0.0, spread, (4, 2)))
        found = stand(
            [dict(enumerate(it)) for it in scores.tolist()], [True] * 4, [True] * 4, Noise(spread)
        )
        promise = Promise(*found.expected(found.leader), found.spread, 2, 100)
        again = np.exp(truth[found.leader] + rng.normal(0.0, spread, seeds))
        kept.append(promise.is_kept(again.tolist()))
    assert 0.92 < np.mean(kept) < 0.98


def test_it_survives_being_written_down() -> None:
    assert Promise.from_dict(PROMISE.as_dict()) == PROMISE


@pytest.mark.parametrize(
    "wrong",
    [{}, {"score": None}, {"low": 120.0}, {"score": "x"}, {"low": -1.0}, {"seeds": []}],
)
def test_anything_else_is_refused(wrong: dict[str, object]) -> None:
    values = {**PROMISE.as_dict(), **wrong} if wrong else {}
    with pytest.raises(ValueError, match=r"no expected score|could not convert"):
        Promise.from_dict(values)
