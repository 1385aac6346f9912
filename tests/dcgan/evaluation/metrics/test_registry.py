"""What the list of metrics accepts, and what it does with a function's answer."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics.registry import METRICS, Measure, RealSet, metric
from dcgan.evaluation.record import EvalRecord
from dcgan.evaluation.set_score import score_set, shown_in

REAL = RealSet(torch.randn(12, 3, generator=torch.Generator().manual_seed(0)))
FAKES = torch.randn(10, 3, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Whatever a test adds goes with it."""
    before = dict(METRICS)
    yield
    METRICS.clear()
    METRICS.update(before)


def answering(answer: float | tuple[float, ...] | None) -> Measure:
    return lambda real, fakes: answer


def scores() -> dict[str, float]:
    return score_set(REAL, FAKES, "fd_x", "kd_x")


def test_numbers_go_by_the_names_in_order_after_those_before() -> None:
    before = scores()
    metric("first", "{frechet}_second")(answering((1.0, 2.0)))
    metric("third")(answering(3))
    expected = before | {"first": 1.0, "fd_x_second": 2.0, "third": 3.0}
    assert list(scores().items()) == list(expected.items())


def test_what_cannot_be_computed_is_left_out() -> None:
    before = scores()
    metric("unknown")(answering(None))
    assert scores() == before


@pytest.mark.parametrize("answer", [math.nan, math.inf])
def test_a_number_must_be_finite(answer: float) -> None:
    metric("bad")(answering(answer))
    with pytest.raises(EvaluationError, match=r"bad must be finite but got .*returns None"):
        scores()


def test_each_name_needs_a_number() -> None:
    metric("one", "two")(answering((1.0,)))
    with pytest.raises(ValueError, match="shorter"):
        scores()


@pytest.mark.parametrize(
    "names", [(), ("precision",), ("new", "{kernel}"), ("step",), ("kind",), ("score",)]
)
def test_names_must_be_new(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="names that nothing else has"):
        metric(*names)(answering(1.0))


def test_a_notebook_may_define_its_metric_again() -> None:
    for answer in (1.0, 2.0):

        @metric("mine")
        def mine(real: RealSet, fakes: Tensor, answer: float = answer) -> float:
            return answer

    assert scores()["mine"] == 2.0


def test_flags_may_name_some_of_the_numbers() -> None:
    metric("one", "{frechet}_two", mlflow=["{frechet}_two"], leaderboard=True)(answering((1, 2)))
    numbers = {"fd_x": 5.0, "one": 1.0, "fd_x_two": 2.0}
    record = EvalRecord(frechet_metric="fd_x", kernel_metric="kd_x", metrics=numbers)
    assert shown_in("leaderboard", record) == {"one": 1.0, "fd_x_two": 2.0}
    assert shown_in("mlflow", record) == {"fd_x": 5.0, "fd_x_two": 2.0}


def test_every_metric_says_what_it_is() -> None:
    assert METRICS["precision"].names == ("precision", "recall", "density", "coverage")
    for item in METRICS.values():
        description = (item.measure.__doc__ or "").partition("\n")[0]
        assert description.endswith(".")


def test_what_is_known_of_the_photos_is_computed_once() -> None:
    asked: list[int] = []
    real = RealSet(FAKES)
    for _ in range(2):
        assert real.once("count", lambda: asked.append(1) or len(real.features)) == 10
    assert len(asked) == 1
