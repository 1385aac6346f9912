"""The list of metrics. A function decorated with `metric` is evaluated, recorded and shown."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias, TypeVar, cast

from torch import Tensor

from dcgan.evaluation.metrics.frechet import Gaussian, fit_gaussian
from dcgan.evaluation.metrics.matrix import ArrayLike, feature_matrix
from dcgan.evaluation.metrics.parts import Part
from dcgan.evaluation.record import NAMES

T = TypeVar("T")


class RealSet:
    """Features of training photos `(n, d)` and held-out ones `(h, d)`, and what depends on them.

    n and h are at least 2. `classes`, int64 (n,), are the training photos' best classes, None if
    the extractor is no classifier. `parts` are the extractor's.
    """

    def __init__(
        self,
        features: ArrayLike,
        holdout: ArrayLike | None = None,
        classes: Tensor | None = None,
        parts: tuple[Part, ...] = (),
    ) -> None:
        self.features = feature_matrix(features, "real")
        self.holdout = None if holdout is None else feature_matrix(holdout, "held-out")
        self.classes = classes
        self.parts = parts
        self._kept: dict[Hashable, object] = {}

    @cached_property
    def gaussian(self) -> Gaussian:
        """Mean and covariance of the features."""
        return fit_gaussian(self.features)

    def once(self, key: Hashable, compute: Callable[[], T]) -> T:
        """The result of `compute` from the first call with this key."""
        if key not in self._kept:
            self._kept[key] = compute()
        return cast(T, self._kept[key])


Measure: TypeAlias = Callable[[RealSet, Tensor], float | tuple[float, ...] | None]
MeasureT = TypeVar("MeasureT", bound=Measure)


@dataclass(frozen=True)
class Metric:
    """One function and its numbers. `mlflow`, `leaderboard` and `table` are subsets of `names`."""

    names: tuple[str, ...]
    measure: Measure
    mlflow: tuple[str, ...]
    leaderboard: tuple[str, ...]
    table: tuple[str, ...]
    heading: str
    digits: int
    both: bool
    of_classes: bool


RESERVED = frozenset({"kind", "score"})
"""Keys beside the metrics in a history's lines and in a study's MLflow runs."""
METRICS: dict[str, Metric] = {}
"""All metrics by their first name, in the order of a record."""


def metric(
    *names: str,
    mlflow: bool | Collection[str] = True,
    leaderboard: bool | Collection[str] = False,
    table: bool | Collection[str] = True,
    heading: str = "",
    digits: int = 3,
    both: bool = False,
    of_classes: bool = False,
) -> Callable[[MeasureT], MeasureT]:
    """Add the decorated function to the metrics.

    It is called as `function(real, fakes)` with a `RealSet` and the fakes' features, float64
    `(m, d)` on the CPU. It returns one number for each name, or None to leave them out.

    Args:
        names: of its numbers; `{frechet}` and `{kernel}` stand for the names of the distances.
        mlflow: whether its numbers get charts in MLflow, or the names of those that do.
        leaderboard: the same for columns of a study's leaderboard.
        table: the same for columns of the tables of `dcgan evaluate` and `dcgan fid`.
        heading: of its column in these tables, in place of the name.
        digits: after the decimal point in these tables.
        both: whether a run's last evaluation has it for the other generator, too.
        of_classes: whether it is called with the fakes' best classes, int64 (m,), in place of their
            features. It is left out where the extractor is no classifier.

    Raises `ValueError` for no name, or one that is taken.
    """

    def chosen(asked: bool | Collection[str]) -> tuple[str, ...]:
        kept = names if asked is True else asked or ()
        return tuple(name for name in names if name in kept)

    def add(function: MeasureT) -> MeasureT:
        where = chosen(mlflow), chosen(leaderboard), chosen(table)
        made = Metric(names, function, *where, heading, digits, both, of_classes)
        taken = {
            name
            for other in METRICS.values()
            if _identity(other.measure) != _identity(function)  # not a notebook's cell run again
            for name in other.names
        }
        if not names or (taken | NAMES | RESERVED).intersection(names):
            raise ValueError(f"a metric needs names that nothing else has, but got {names}")
        METRICS[names[0]] = made
        return function

    return add


def _identity(function: Measure) -> tuple[str, str]:
    return function.__module__, getattr(function, "__qualname__", repr(function))
