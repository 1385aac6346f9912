"""Everything a set of fakes is told, in one go."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics.all_metrics import NEIGHBOURS, REPEATS
from dcgan.evaluation.metrics.floor import photo_halves, times_floor
from dcgan.evaluation.metrics.frechet import frechet_distance
from dcgan.evaluation.metrics.kernel import kernel_distance
from dcgan.evaluation.metrics.manifold import precision_recall_density_coverage
from dcgan.evaluation.metrics.registry import RealSet
from dcgan.evaluation.set_score import score_set


def normal(count: int, seed: int, shift: float = 0.0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(count, 8, generator=rng, dtype=torch.float64) + shift


def scores(real: Tensor, fake: Tensor, holdout: Tensor | None = None) -> dict[str, float]:
    return score_set(RealSet(real, holdout), fake, "fd", "kd")


def test_a_second_score_is_the_first_one_again() -> None:
    """What is kept of the photos changes no number, also for other numbers of fakes."""
    real, few, many = normal(60, 0), normal(20, 1), normal(100, 2, shift=0.5)
    kept = RealSet(real)
    for fakes in (few, many, few, many):
        assert score_set(kept, fakes, "fd", "kd") == scores(real, fakes)


def test_the_numbers_are_those_of_the_library() -> None:
    real, fake = normal(60, 0), normal(100, 1, shift=0.5)
    score = scores(real, fake)
    assert score["fd"] == pytest.approx(frechet_distance(real, fake), rel=1e-9)
    assert (score["kd"], score["kd_standard_error"]) == kernel_distance(real, fake)
    manifold = precision_recall_density_coverage(real, fake, NEIGHBOURS)._asdict()
    assert {name: score[name] for name in manifold} == manifold
    assert score["fd_times_floor"] == times_floor(
        photo_halves(real, len(fake), repeats=REPEATS), fake
    )
    spread = fake.var(dim=0).sum() / real.var(dim=0).sum()
    assert score["spread"] == pytest.approx(float(spread), rel=1e-12)
    assert score["fd_low"] < score["fd"] < score["fd_high"]
    assert all(math.isfinite(value) for value in score.values())
    assert list(score) == [
        *("fd", "fd_low", "fd_high", "kd", "kd_standard_error", "spread"),
        *("precision", "recall", "density", "coverage", "fd_times_floor"),
    ]


def test_parts_of_larger_sets_have_no_frechet_distance() -> None:
    real, fake = normal(60, 0), normal(2, 1)
    part = score_set(RealSet(real), fake, "fd", "kd", of_all=False)
    assert list(part) == ["kd", "kd_standard_error", "spread"]
    assert part["kd"] == kernel_distance(real, fake).value


def test_spread_is_0_for_one_image_and_unknown_where_photos_do_not_vary() -> None:
    one, photos = torch.ones(20, 8, dtype=torch.float64), normal(30, 0)
    assert scores(photos, one)["spread"] == 0.0
    assert scores(photos, photos)["spread"] == pytest.approx(1.0)
    assert "spread" not in scores(one, photos)


def test_holdout_tells_memory_from_likeness() -> None:
    """Fakes that copy the training photos are nearer to them than to others of their kind."""
    trained, others = normal(60, 0), normal(20, 1)
    copies = trained.repeat(2, 1)
    fresh = normal(120, 2)
    memory, likeness = (scores(trained, fake, others) for fake in (copies, fresh))
    assert memory["fd_trained"] < 0.9 * memory["fd_holdout"]
    assert likeness["fd_trained"] == pytest.approx(likeness["fd_holdout"], rel=0.3)


@pytest.mark.parametrize("count", [3, 4, 5, 6])
def test_few_fakes(count: int) -> None:
    score = scores(normal(10, 0), normal(count, 1))
    assert ("recall" in score) == (count > NEIGHBOURS)
    assert math.isfinite(score["fd"])


def test_too_few() -> None:
    with pytest.raises(EvaluationError, match="at least 3 fake images"):
        scores(normal(10, 0), normal(2, 1))
    score = scores(normal(3, 0), normal(20, 1))
    assert "fd_times_floor" not in score
    assert "recall" not in score


def test_photos_that_are_all_alike_have_no_floor() -> None:
    same = torch.ones(20, 8, dtype=torch.float64)
    assert "fd_times_floor" not in scores(same, normal(40, 1))
    nearly = torch.cat([same, normal(1, 3)])
    assert math.isfinite(scores(nearly, normal(4, 1))["fd"])


def test_a_collapsed_generator() -> None:
    score = scores(normal(40, 0), torch.zeros(64, 8, dtype=torch.float64))
    assert score["fd"] > 0
    assert score["fd_low"] == pytest.approx(score["fd_high"])
    assert score["recall"] == 0.0
