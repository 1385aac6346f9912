"""Feature matrices as every metric takes them: checked, float64, on the CPU.

The formulas use torch's linear algebra, not numpy's: it keeps to `train.threads`, so that several
workers of a study do not fight for cores (ten times slower when they do) and results repeat.
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


def feature_matrix(features: ArrayLike, name: str) -> Tensor:
    """Check one set of features and convert it.

    Args:
        features: (n, d), one row an image; n >= 2, d >= 1, all finite.
        name: what the error message calls it ("real", "fake").

    Returns:
        float64 tensor (n, d) on the CPU.

    Raises:
        EvaluationError: not two-dimensional, fewer than 2 rows, no columns, or NaN/infinite values.
    """
    matrix = as_float64(features)
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise EvaluationError(
            f"the {name} features must have the shape (images, dimensions) "
            f"but got {tuple(matrix.shape)}"
        )
    if matrix.shape[0] < 2:
        raise EvaluationError(
            f"a distance needs at least 2 {name} images but got {matrix.shape[0]}; "
            "add photos or raise eval.n_samples"
        )
    if not matrix.sum().isfinite():  # one pass; of finite values, only huge ones reach this, too
        _refuse_bad_rows(matrix, name)
    return matrix


def _refuse_bad_rows(matrix: Tensor, name: str) -> None:
    bad_rows = (~matrix.isfinite()).any(dim=1).nonzero().flatten().tolist()
    if bad_rows:
        raise EvaluationError(
            f"the {name} features of {len(bad_rows)} of {matrix.shape[0]} images are not finite "
            f"(first: image {bad_rows[0]}); check the images and the extractor"
        )


def feature_pair(real: ArrayLike, fake: ArrayLike) -> tuple[Tensor, Tensor]:
    """Both sets checked and converted; they must have the same number of columns.

    Raises:
        EvaluationError: see `feature_matrix`, or the dimensions differ.
    """
    real_matrix, fake_matrix = feature_matrix(real, "real"), feature_matrix(fake, "fake")
    same_dimension(real_matrix.shape[1], fake_matrix.shape[1])
    return real_matrix, fake_matrix


def same_dimension(real: int, fake: int) -> None:
    """Raise EvaluationError unless both feature dimensions are equal."""
    if real != fake:
        raise EvaluationError(
            f"real features have {real} dimensions but fake ones {fake}; "
            "compare features of the same extractor only"
        )
