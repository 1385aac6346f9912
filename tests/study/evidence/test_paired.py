"""Verdicts on paired differences whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from study.evidence.paired import SHOWN_OF_LAST, Change, Verdict, judge
from study.evidence.sequential import levels


def ask(truth: float, noise: np.ndarray, most: int = 12) -> Change:
    """Look after each pair until there is a verdict."""
    differences = math.log1p(truth) + noise
    answers = (judge(differences[:pairs], most) for pairs in range(1, most + 1))
    return next(it for it in answers if it.verdict is not Verdict.UNDECIDED or it.pairs == most)


def answers(truth: float, spread: float = 0.28, count: int = 1_000) -> list[Change]:
    """Many questions with the same truth; differences have the tails of Student's t with 4."""
    noise = np.random.default_rng(3).standard_t(4, (count, 12)) / math.sqrt(2) * spread
    return [ask(truth, row) for row in noise]


def share(found: list[Change], verdict: Verdict) -> float:
    return sum(it.verdict is verdict for it in found) / len(found)


def test_the_numbers_are_those_of_a_t_interval() -> None:
    differences = [-0.31, -0.18, -0.44, -0.02, -0.25]
    found = judge(differences, 12)
    level = SHOWN_OF_LAST * levels(12)[-1]
    low, high = stats.ttest_1samp(differences, 0.0).confidence_interval(1 - level)
    assert found.change == pytest.approx(math.expm1(np.mean(differences)))
    assert (found.low, found.high) == (
        pytest.approx(math.expm1(low)),
        pytest.approx(math.expm1(high)),
    )
    assert (found.pairs, found.wins) == (5, 5)


def test_without_an_effect_a_verdict_on_one_is_rare() -> None:
    found = answers(0.0)
    assert 0.01 < share(found, Verdict.HELPS) + share(found, Verdict.HURTS) < 0.06
    assert 0.93 < np.mean([it.low <= 0.0 <= it.high for it in found]) < 0.97


@pytest.mark.parametrize("truth", [0.2, 0.5, 1.0])
def test_effects_are_found_with_their_sign_and_size(truth: float) -> None:
    worse, better = answers(truth), answers(1 / (1 + truth) - 1)
    assert share(worse, Verdict.HELPS) < 0.01
    assert share(worse, Verdict.HURTS) == pytest.approx(share(better, Verdict.HELPS), abs=0.05)
    assert 0.93 < np.mean([it.low <= truth <= it.high for it in worse]) < 0.975
    if truth >= 0.5:
        assert share(worse, Verdict.HURTS) > 0.9


def test_a_large_effect_takes_about_half_the_pairs() -> None:
    found = answers(0.5, spread=0.2)
    assert share(found, Verdict.HURTS) > 0.98
    assert 4.0 < np.mean([it.pairs for it in found]) < 6.5


def test_no_difference_worth_mentioning_needs_a_narrow_interval() -> None:
    assert judge([0.01, -0.02, 0.0, 0.015, -0.01, 0.02], 12).verdict is Verdict.ALIKE
    assert judge([0.3, -0.28, 0.0, 0.2, -0.25, 0.1], 12).verdict is Verdict.UNDECIDED
    assert share(answers(0.25, spread=0.1), Verdict.ALIKE) == 0.0


def test_differences_of_exactly_nothing_are_alike() -> None:
    """The setting changes nothing: both trainings of each pair are the same, bit for bit."""
    assert judge([0.0, 0.0, 0.0], 12) == Change(Verdict.ALIKE, 0.0, 0.0, 0.0, 3, 0, None)


def test_one_pair_says_nothing() -> None:
    found = judge([-0.7], 12)
    assert found.verdict is Verdict.UNDECIDED
    assert (found.low, found.high) == (-1.0, math.inf)


def test_undecided_says_how_many_more_pairs_would_decide() -> None:
    found = judge([-0.5, 0.1, -0.2, -0.3, 0.2, -0.15], 6)
    assert found.verdict is Verdict.UNDECIDED
    assert found.more is not None
    again = np.tile([-0.5, 0.1, -0.2, -0.3, 0.2, -0.15], 20)[: 6 + found.more]
    assert stats.ttest_1samp(again, 0.0).pvalue == pytest.approx(levels(6)[-1], rel=0.6)
    assert judge([-0.5, 0.1, -0.2], 12).more is not None
    assert judge([-5.0, 5.01], 12).more is None
