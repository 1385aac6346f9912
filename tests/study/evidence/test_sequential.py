"""Levels of repeated looks, against an independent simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from study.evidence.sequential import FEWEST, levels


def rejections(most: int, error: float, differences: np.ndarray) -> float:
    """The share of sequences in which a t-test rejects the mean 0 at any look."""
    each = levels(most, error)
    rejected = np.zeros(len(differences), dtype=bool)
    for level, pairs in zip(each, range(FEWEST, most + 1), strict=True):
        rejected |= stats.ttest_1samp(differences[:, :pairs], 0.0, axis=1).pvalue < level
    return float(rejected.mean())


@pytest.mark.parametrize(("most", "error"), [(2, 0.05), (6, 0.05), (12, 0.05), (12, 0.2)])
def test_all_looks_together_err_as_often_as_stated(most: int, error: float) -> None:
    differences = np.random.default_rng(7).normal(0.0, 0.3, (20_000, most))
    assert rejections(most, error, differences) == pytest.approx(error, rel=0.12)


def test_heavy_tails_err_less_often() -> None:
    differences = np.random.default_rng(8).standard_t(3, (20_000, 12))
    assert 0.02 < rejections(12, 0.05, differences) < 0.05


def test_looking_at_five_percent_each_time_errs_far_more_often() -> None:
    differences = np.random.default_rng(9).normal(size=(5_000, 12))
    looks = [stats.ttest_1samp(differences[:, :n], 0.0, axis=1).pvalue < 0.05 for n in range(2, 13)]
    assert np.any(looks, axis=0).mean() > 0.15


def test_one_look_is_a_plain_t_test() -> None:
    assert levels(2) == (pytest.approx(0.05, rel=0.03),)


def test_levels_rise_and_stay_below_the_stated_error() -> None:
    each = levels(12)
    assert len(each) == 11
    assert list(each) == sorted(each)
    assert 0 < each[0] < 0.001 < 0.02 < each[-1] < 0.03


@pytest.mark.parametrize(("most", "error"), [(1, 0.05), (12, 0.0), (12, 1.0)])
def test_nonsense_is_refused(most: int, error: float) -> None:
    with pytest.raises(ValueError, match="at least 2 and a share are needed"):
        levels(most, error)
