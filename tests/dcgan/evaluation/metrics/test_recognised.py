"""The recognised share by hand, its interval beside scipy's, and where it is not given."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from torch import Tensor

from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics.recognised import (
    recognised,
    recognised_photos,
    why_not_given,
    wilson_interval,
)
from dcgan.evaluation.metrics.registry import RealSet
from dcgan.evaluation.set_score import score_set

CAT, LYNX, DOG = 281, 287, 200


def classes(**counts: int) -> Tensor:
    """So many of each named class, then as many different ones as `others` says."""
    known = {"cat": CAT, "lynx": LYNX, "dog": DOG}
    others = counts.pop("others", 0)
    rows = [torch.full((count,), known[name]) for name, count in counts.items()]
    return torch.cat([*rows, torch.arange(500, 500 + others)])


def test_by_hand() -> None:
    photos = classes(cat=40, lynx=3, dog=2, others=55)  # 100: cat and lynx are typical
    images = classes(cat=10, lynx=5, dog=20, others=15)
    found = recognised(photos, images)
    assert found is not None
    assert found.share == 15 / 50
    # without one of its photos, lynx is not typical any more
    assert found.of_photos == 40 / 100
    interval = binomtest(15, 50).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_scipys(case: tuple[int, int]) -> None:
    found, count = case
    low, high = wilson_interval(found, count)
    expected = binomtest(found, count).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-12)
    assert 0.0 <= low <= found / count <= high <= 1.0


def test_the_photos_share_is_that_of_new_photos() -> None:
    """By a loop over the photos, each left out in turn."""
    rng = torch.Generator().manual_seed(0)
    photos = (torch.randn(300, generator=rng).abs() * 8).long()

    def one_against(rest: Tensor, image: Tensor) -> bool:
        same = int((rest == image).sum())
        return same >= 3 and same >= 0.03 * len(rest)

    left_out = [
        one_against(torch.cat([photos[:i], photos[i + 1 :]]), photos[i]) for i in range(len(photos))
    ]
    assert 0.2 < sum(left_out) / len(photos) < 0.99
    assert recognised_photos(photos) == pytest.approx(sum(left_out) / len(photos), abs=1e-12)


def test_classes_that_photos_never_got_are_not_recognised() -> None:
    found = recognised(classes(cat=50), torch.arange(900, 999))
    assert found is not None
    assert found[:2] == (0.0, 0.0)
    assert 0.0 < found.high < 0.05
    assert found.of_photos == 1.0


def test_says_why_it_is_not_given() -> None:
    assert why_not_given(torch.tensor([7] * 20 + list(range(100, 180)))) == ""  # 20 of 100
    assert why_not_given(torch.tensor([7] * 19 + list(range(100, 181)))) == (
        "recognised is not given: the network recognises only 19% of the photos, and below 20% the "
        "share of images says nothing"
    )


def test_not_given_where_photos_are_hardly_recognised() -> None:
    images = classes(cat=50)
    assert recognised(classes(cat=21, others=79), images) is not None
    assert recognised(classes(cat=19, others=81), images) is None
    assert recognised(classes(others=400), images) is None
    assert recognised(classes(cat=2), images) is None  # too few photos to tell


@pytest.mark.parametrize(
    "bad", [torch.zeros(0, dtype=torch.int64), torch.zeros(3), torch.tensor([-1, 2])]
)
def test_other_than_classes_is_refused(bad: Tensor) -> None:
    with pytest.raises(EvaluationError, match="classes of images must be int64 from 0"):
        recognised(classes(cat=9), bad)
    with pytest.raises(EvaluationError, match="classes of photos must be int64 from 0"):
        recognised(bad, classes(cat=9))


def test_a_score_has_it_where_there_are_classes() -> None:
    rng = torch.Generator().manual_seed(0)
    real, fakes = torch.randn(100, 4, generator=rng), torch.randn(50, 4, generator=rng)
    photos, images = classes(cat=40, others=60), classes(cat=10, others=40)
    score = score_set(RealSet(real, classes=photos), fakes, "fd", "kd", classes=images)
    assert (score["recognised"], score["recognised_of_photos"]) == (0.2, 0.4)
    assert score["recognised_low"] < 0.2 < score["recognised_high"]
    plain = score_set(RealSet(real), fakes, "fd", "kd")
    assert plain == {name: value for name, value in score.items() if "recognised" not in name}
    assert score_set(RealSet(real), fakes, "fd", "kd", classes=images) == plain
    only_both = score_set(
        RealSet(real, classes=photos), fakes, "fd", "kd", classes=images, in_full=False
    )
    assert "recognised" not in only_both
