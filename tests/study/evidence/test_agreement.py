"""Rank correlations and ladders, against known truths."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from study.evidence.agreement import ENOUGH, FEW, ladder, rank_correlation


def test_rank_correlation_holds_the_truth_as_often_as_it_says() -> None:
    """Spearman's rho of a bivariate normal is known: 6/π asin(r/2)."""
    truth, held = 6 / math.pi * math.asin(0.25), 0
    generator = np.random.default_rng(1)
    for _ in range(400):
        a, b = generator.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], size=40).T
        found = rank_correlation(list(a), list(b))
        assert found is not None
        assert found.value == pytest.approx(stats.spearmanr(a, b).statistic)
        held += found.low <= truth <= found.high
    assert 0.92 <= held / 400 <= 0.98
    assert rank_correlation([1.0] * 20, list(range(20))) is None
    assert rank_correlation([1, 2, 3], [1, 2, 3]) is None
    straight = rank_correlation(list(range(12)), list(range(12)))
    assert straight is not None
    assert straight.value == pytest.approx(1)
    assert 0.9 < straight.low < straight.high == straight.value


def test_few_pairs_have_a_wide_interval_that_holds() -> None:
    truth, held, widths = 6 / math.pi * math.asin(0.35), 0, []
    generator = np.random.default_rng(4)
    for _ in range(400):
        a, b = generator.multivariate_normal([0, 0], [[1, 0.7], [0.7, 1]], size=6).T
        assert rank_correlation(list(a), list(b)) is None
        found = rank_correlation(list(a), list(b), FEW)
        assert found is not None
        held += found.low <= truth <= found.high
        widths.append(found.high - found.low)
    assert 0.92 <= held / 400 <= 1.0
    assert np.median(widths) > 0.8


def test_a_ladder_climbs_as_the_scores_come_closer_to_the_final_ones() -> None:
    rng = np.random.default_rng(2)
    finals = rng.normal(5.0, 0.3, 40)
    curves = [
        ({10: final + rng.normal(0, 1.0), 50: final + rng.normal(0, 0.2), 90: final}, final)
        for final in finals
    ]
    for curve, _ in curves[ENOUGH - 1 :]:
        del curve[10]  # too few have a score there
    steps = ladder(curves)
    assert [(step.epoch, step.configs) for step in steps] == [(50, 40), (90, 40)]
    assert 0.5 < steps[0].correlation.low < steps[0].correlation.value < 0.95
    assert steps[1].correlation.value == pytest.approx(1.0)
    at_50 = stats.spearmanr([curve[50] for curve, _ in curves], finals).statistic
    assert steps[0].correlation.value == pytest.approx(at_50)
    assert ladder([]) == []
