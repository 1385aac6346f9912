"""Everything a set of fakes is told, in one go."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics.floor import times_floor
from dcgan.evaluation.metrics.frechet import frechet_distance
from dcgan.evaluation.metrics.kernel import kernel_distance
from dcgan.evaluation.metrics.manifold import precision_recall_density_coverage
from dcgan.evaluation.set_score import NEIGHBOURS, REPEATS, RealSet


def normal(count: int, seed: int, shift: float = 0.0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(count, 8, generator=rng, dtype=torch.float64) + shift


def test_a_second_score_is_the_first_one_again() -> None:
    """What is kept of the photos changes no number, also for other numbers of fakes."""
    real, few, many = normal(60, 0), normal(20, 1), normal(100, 2, shift=0.5)
    kept = RealSet(real)
    for fakes in (few, many, few, many):
        assert kept.score(fakes) == RealSet(real).score(fakes)


def test_the_numbers_are_those_of_the_library() -> None:
    real, fake = normal(60, 0), normal(100, 1, shift=0.5)
    score = RealSet(real).score(fake)
    assert score.frechet.value == pytest.approx(frechet_distance(real, fake), rel=1e-9)
    assert score.kernel == kernel_distance(real, fake)
    assert score.manifold == precision_recall_density_coverage(real, fake, NEIGHBOURS)
    assert score.floor == times_floor(real, fake, repeats=REPEATS)
    assert score.holdout is None
    spread = fake.var(dim=0).sum() / real.var(dim=0).sum()
    assert score.spread == pytest.approx(float(spread), rel=1e-12)
    record = score.as_record("fd_x", "kd_x")
    assert record["fd_x_low"] < record["fd_x"] < record["fd_x_high"]
    assert record["fd_x_times_floor"] == score.floor.ratio
    assert all(math.isfinite(value) for value in record.values())


def test_spread_is_0_for_one_image_and_unknown_where_photos_do_not_vary() -> None:
    one, photos = torch.ones(20, 8, dtype=torch.float64), normal(30, 0)
    assert RealSet(photos).score(one).spread == 0.0
    assert RealSet(photos).score(photos).spread == pytest.approx(1.0)
    unknown = RealSet(one).score(photos)
    assert unknown.spread is None
    assert "spread" not in unknown.as_record("fd", "kd")


def test_holdout_tells_memory_from_likeness() -> None:
    """Fakes that copy the training photos are nearer to them than to others of their kind."""
    trained, others = normal(60, 0), normal(20, 1)
    copies = trained.repeat(2, 1)
    fresh = normal(120, 2)
    memory, likeness = (RealSet(trained, others).score(fake).holdout for fake in (copies, fresh))
    assert memory is not None
    assert likeness is not None
    assert memory.size == 20
    assert memory.trained < 0.9 * memory.holdout
    assert likeness.trained == pytest.approx(likeness.holdout, rel=0.3)


@pytest.mark.parametrize("count", [3, 4, 5, 6])
def test_few_fakes(count: int) -> None:
    score = RealSet(normal(10, 0)).score(normal(count, 1))
    assert (score.manifold is not None) == (count > NEIGHBOURS)
    assert math.isfinite(score.frechet.value)


def test_too_few() -> None:
    with pytest.raises(EvaluationError, match="at least 3 fakes"):
        RealSet(normal(10, 0)).score(normal(2, 1))
    score = RealSet(normal(3, 0)).score(normal(20, 1))
    assert (score.floor, score.manifold) == (None, None)


def test_photos_that_are_all_alike_have_no_floor() -> None:
    same = torch.ones(20, 8, dtype=torch.float64)
    score = RealSet(same).score(normal(40, 1))
    assert score.floor is None
    assert "fd_times_floor" not in score.as_record("fd", "kd")
    nearly = torch.cat([same, normal(1, 3)])
    assert math.isfinite(RealSet(nearly).score(normal(4, 1)).frechet.value)


def test_a_collapsed_generator() -> None:
    score = RealSet(normal(40, 0)).score(torch.zeros(64, 8, dtype=torch.float64))
    assert score.frechet.value > 0
    assert score.frechet.standard_error == pytest.approx(0.0, abs=1e-9)
    assert score.manifold is not None
    assert score.manifold.recall == 0.0
