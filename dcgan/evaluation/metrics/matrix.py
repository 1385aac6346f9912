"""Feature matrices as every metric takes them: checked, float64, on the CPU.

The formulas use torch's linear algebra, not numpy's. It respects `train.threads`, so that the
workers of a study do not compete for cores (ten times slower) and results repeat.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dcgan.errors import EvaluationError

ArrayLike: TypeAlias = npt.NDArray[Any] | Tensor


def as_float64(values: ArrayLike) -> Tensor:
    """A float64 tensor on the CPU, from a numpy array or a tensor of any device and dtype."""
    if isinstance(values, Tensor):
        # .cpu() comes before .double(): Apple's mps has no float64
        return values.detach().cpu().double()
    # a copy in plain order: torch refuses reversed arrays and warns at read-only ones
    return torch.tensor(np.asarray(values, dtype=np.float64, order="C"))


def feature_matrix(features: ArrayLike, name: str, least: int = 2) -> Tensor:
    """Check one set of features, `(n, d)` with one row an image, and convert it.

    Raises `EvaluationError` for another shape, fewer than `least` rows, no columns, or NaN or
    infinite values. `name` is what the message calls the set ("real", "fake").
    """
    matrix = as_float64(features)
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise EvaluationError(
            f"the {name} features must have the shape (images, dimensions) "
            f"but got {tuple(matrix.shape)}"
        )
    if len(matrix) < least:
        raise EvaluationError(
            f"a score needs at least {least} {name} images but got {len(matrix)}; "
            "add photos or raise eval.n_samples"
        )
    # One pass finds nearly all sets to be finite. A sum of huge finite values may overflow.
    if not matrix.sum().isfinite():
        bad_rows = (~matrix.isfinite()).any(dim=1).nonzero().flatten().tolist()
        if bad_rows:
            raise EvaluationError(
                f"the {name} features of {len(bad_rows)} of {len(matrix)} images are not finite "
                f"(first: image {bad_rows[0]}); check the images and the extractor"
            )
    return matrix


def feature_pair(
    first: ArrayLike, second: ArrayLike, names: tuple[str, str] = ("real", "fake"), least: int = 2
) -> tuple[Tensor, Tensor]:
    """Both sets checked and converted by `feature_matrix`, and by `same_dimension`."""
    one, other = feature_matrix(first, names[0], least), feature_matrix(second, names[1], least)
    same_dimension(one.shape[1], other.shape[1], names)
    return one, other


def same_dimension(first: int, second: int, names: tuple[str, str] = ("real", "fake")) -> None:
    """Raise EvaluationError unless both feature dimensions are equal."""
    if first != second:
        raise EvaluationError(
            f"{names[0]} features have {first} dimensions but {names[1]} ones {second}; "
            "compare features of the same extractor and image size only"
        )
