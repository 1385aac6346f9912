"""Variance budgets of simulated studies whose parts are known."""

from __future__ import annotations

import numpy as np
import pytest

from study.evidence.variance import budget

CONFIG, SEED, SAMPLING, STEP = 0.3, 0.15, 0.02, 0.06


def test_the_parts_are_those_that_were_put_in() -> None:
    rng, count = np.random.default_rng(6), 3000
    means = rng.normal(5.0, CONFIG, count)
    finals = np.exp(means + rng.normal(0.0, SEED, count))
    intervals = [(it * np.exp(-1.96 * SAMPLING), it * np.exp(1.96 * SAMPLING)) for it in finals]
    trend = np.linspace(0.5, 0.0, 8)  # a straight course in logarithms is no noise
    curves = np.exp(means[:, None] + trend + rng.normal(0.0, STEP, (count, 8)))
    found = budget(finals.tolist(), SEED, intervals, curves.tolist())
    assert found is not None
    assert found.total == pytest.approx(CONFIG**2 + SEED**2, rel=0.06)
    assert found.config == pytest.approx(CONFIG**2, rel=0.08)
    assert found.seed == pytest.approx(SEED**2)
    assert found.sampling == pytest.approx(SAMPLING**2)
    assert found.checkpoint == pytest.approx(STEP**2, rel=0.05)
    # Reliability is the correlation with the scores of the same configs on other seeds.
    again = means + rng.normal(0.0, SEED, count)
    expected = np.corrcoef(np.log(finals), again)[0, 1]
    assert found.reliability == pytest.approx(expected, abs=0.03)


def test_chance_alone_leaves_nothing_for_the_configs() -> None:
    found = budget([100.0, 101.0, 99.0], 0.15, [], [])
    assert found is not None
    assert (found.config, found.reliability, found.sampling, found.checkpoint) == (0, 0, 0, 0)


def test_two_scores_have_no_budget() -> None:
    assert budget([100.0, 120.0], 0.15, [], []) is None
