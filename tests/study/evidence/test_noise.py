"""The noise between seeds, on scores whose noise is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from study.evidence.audit import audit
from study.evidence.noise import (
    Squares,
    beyond_chance,
    margin,
    measure,
    noise_at,
    together,
)
from study.evidence.race import USUAL, Noise

EPOCHS = (10, 20, 80)


def repeated(spread: float, configs: int, seeds: int) -> list[list[dict[int, float]]]:
    rng = np.random.default_rng(5)
    return [
        [
            {epoch: float(np.exp(rng.normal(6 + config, spread * epoch / 20))) for epoch in EPOCHS}
            for _ in range(seeds)
        ]
        for config in range(configs)
    ]


def test_the_noise_is_found_at_each_epoch_whatever_the_configs_score() -> None:
    measured = measure(repeated(0.2, 60, 4))
    assert {epoch: squares.freedom for epoch, squares in measured.items()} == dict.fromkeys(
        EPOCHS, 180
    )
    for epoch in EPOCHS:
        # The standard error of a standard deviation is 1 / sqrt(2 × 180) of it.
        assert noise_at(measured, epoch).spread == pytest.approx(0.2 * epoch / 20, rel=0.15)


def test_it_is_the_pooled_standard_deviation() -> None:
    groups = repeated(0.2, 3, 5)
    found = measure(groups)[20]
    logs = [[math.log(training[20]) for training in trainings] for trainings in groups]
    pooled = math.sqrt(np.mean([np.var(one, ddof=1) for one in logs]))
    assert math.sqrt(found.total / found.freedom) == pytest.approx(pooled, rel=1e-12)


def test_one_training_or_one_positive_score_says_nothing() -> None:
    assert measure([[{1: 3.0}], [{1: 3.0}, {2: 4.0}], [{5: -1.0}, {5: 2.0}]]) == {}


def test_two_measurements_count_together() -> None:
    groups = repeated(0.2, 4, 3)
    whole, parts = measure(groups), together(measure(groups[:1]), measure(groups[1:]))
    for epoch in EPOCHS:
        assert parts[epoch].freedom == whole[epoch].freedom == 8
        assert parts[epoch].total == pytest.approx(whole[epoch].total)


def test_the_nearest_epoch_counts_beside_what_is_usual() -> None:
    measured = {10: Squares(0.4, 10), 40: Squares(0.9, 10)}
    assert noise_at({}, 10) == USUAL
    assert noise_at(measured, 19) == noise_at(measured, 1) == noise_at(measured, 10)
    assert noise_at(measured, 21) == noise_at(measured, 1000) == noise_at(measured, 40)
    assert noise_at({}, 10, 0.4) == Noise(0.4, USUAL.weight)
    told = noise_at(measured, 10, 0.1)
    assert told.weight == USUAL.weight + 10
    assert told.spread == pytest.approx(math.sqrt((USUAL.weight * 0.01 + 0.4) / told.weight))


def test_a_training_that_is_no_worse_is_seldom_beyond_chance() -> None:
    assert margin(2.0) == pytest.approx(2 * stats.norm.ppf(0.95))
    assert margin(2.0, 20) == pytest.approx(2 * stats.norm.ppf(1 - 0.05 / 20))
    scores = np.exp(np.random.default_rng(1).normal(math.log(100), 0.3, 20_000))
    share = np.mean([beyond_chance(score, 100.0, 0.3) for score in scores])
    assert share == pytest.approx(0.05, abs=0.005)
    assert not beyond_chance(-1.0, -2.0, 0.1)
    assert not beyond_chance(5.0, 0.0, 0.1)


def test_an_audit_counts_who_would_have_won() -> None:
    found = audit([5.0, 11.0, 30.0, 40.0], [10.0, 12.0, 20.0])
    assert found is not None
    assert (found.trials, found.better, found.ahead) == (4, 1, 2)
    # Clopper & Pearson by the beta distribution.
    assert found.at_most == pytest.approx(stats.beta.ppf(0.975, 2, 3))
    assert audit([], [1.0]) is None
    assert audit([1.0], []) is None
