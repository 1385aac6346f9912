"""The score of a set of fakes: the numbers of all metrics, and where they are shown."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics import all_metrics as all_metrics  # registers them
from dcgan.evaluation.metrics.matrix import ArrayLike, feature_matrix
from dcgan.evaluation.metrics.registry import METRICS, RealSet
from dcgan.evaluation.record import EvalRecord


def score_set(
    real: RealSet,
    fake: ArrayLike,
    frechet_name: str,
    kernel_name: str,
    *,
    classes: Tensor | None = None,
    in_full: bool = True,
    of_all: bool = True,
) -> dict[str, float]:
    """Every metric of fakes `(m, d)` by name, without those that cannot be computed.

    Args:
        frechet_name: name of the Fréchet distance with these features, as in `fd_layout`.
        kernel_name: the same for the kernel distance.
        classes: best classes of the fakes, int64 (m,), if the extractor is a classifier.
        in_full: False: only the metrics that the end of a run has for both generators.
        of_all: False for random parts of larger sets: leave out Fréchet distances and numbers
            named after them, which depend on the sets' sizes.

    Raises `EvaluationError` for fewer than 3 fakes, another d, or values that are not finite.
    """
    fakes, numbers = feature_matrix(fake, "fake"), dict[str, float]()
    for item in METRICS.values():
        sized = item.names[0].startswith(("{frechet}", "fd_"))
        wanted = (in_full or item.both) and (of_all or not sized)
        seen = classes if item.of_classes else fakes
        measured = item.measure(real, seen) if wanted and seen is not None else None
        if measured is None:
            continue
        values = measured if isinstance(measured, tuple) else (measured,)
        names = [name.format(frechet=frechet_name, kernel=kernel_name) for name in item.names]
        numbers |= dict(zip(names, map(float, values), strict=True))
        if not all(map(math.isfinite, values)):
            raise EvaluationError(
                f"{', '.join(names)} must be finite but got {measured}; a metric returns None "
                "where it cannot be computed"
            )
    return numbers


def shown_in(where: Literal["mlflow", "leaderboard"], record: EvalRecord) -> dict[str, float]:
    """The numbers of an evaluation that are shown in a place."""
    names = [
        template.format(frechet=record.frechet_metric, kernel=record.kernel_metric)
        for item in METRICS.values()
        for template in getattr(item, where)
    ]
    return {name: record.metrics[name] for name in names if name in record.metrics}
