"""Kernel distance between two sets of features (KID's formula) and its standard error.

Bińkowski et al. 2018, "Demystifying MMD GANs" (arXiv:1801.01401): the squared maximum mean
discrepancy with the kernel k(x, y) = (x·y / d + 1)³ over all pairs of all samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics.matrix import ArrayLike, feature_pair

BLOCK_ROWS = 1024
"""Rows of a kernel matrix held at once: memory grows with n, only time with n²."""


class KernelDistance(NamedTuple):
    """An estimate, and its standard error over other samples of the same size."""

    value: float
    """Unbiased squared MMD. Its mean does not depend on n, and it can be below 0."""
    standard_error: float
    """>= 0, over other photos and other fakes."""


def kernel_distance(real: ArrayLike, fake: ArrayLike) -> KernelDistance:
    """Unbiased squared MMD between features `(n1, d)` and `(n2, d)` of one extractor.

    The standard error is that of a two-sample U-statistic by its structural components (Sen 1960,
    "On some convergence properties of U-statistics"): the variances of the samples' own shares of
    the value, divided by n, add up. It is too large where both sets come from one distribution.
    Time grows with n1 · n2 · d, memory with n1 + n2. Raises `EvaluationError` for fewer than 2
    rows, different d, NaN or infinite features, or an overflow.
    """
    real_matrix, fake_matrix = feature_pair(real, fake)
    real_within, fake_within = _mean_kernel_within(real_matrix), _mean_kernel_within(fake_matrix)
    real_across, fake_across = _mean_kernels_across(real_matrix, fake_matrix)
    value = real_within.mean() + fake_within.mean() - 2.0 * real_across.mean()
    # a sample is in its own set's pairs twice (as x and as x'), and the cross term counts twice
    variance = 4.0 * (
        (real_within - real_across).var() / len(real_matrix)
        + (fake_within - fake_across).var() / len(fake_matrix)
    )
    if not (value.isfinite() and variance.isfinite()):
        raise EvaluationError(
            "the kernel distance is not finite: the features are too large; check the extractor"
        )
    return KernelDistance(float(value), float(variance.sqrt()))


def _mean_kernel_within(rows: Tensor) -> Tensor:
    """For each row x the mean kernel with all others, without k(x, x), (n,)."""
    sums = torch.cat([block.sum(dim=1) for block in _kernel_blocks(rows, rows)])
    self_kernel = (rows.square().sum(dim=1) / rows.shape[1] + 1.0) ** 3
    return (sums - self_kernel) / (len(rows) - 1)


def _mean_kernels_across(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """For each row the mean kernel with all columns, (n,), and the reverse, (m,)."""
    of_rows, of_columns = [], torch.zeros(len(columns), dtype=rows.dtype)
    for block in _kernel_blocks(rows, columns):
        of_rows.append(block.sum(dim=1))
        of_columns += block.sum(dim=0)
    return torch.cat(of_rows) / len(columns), of_columns / len(rows)


def _kernel_blocks(rows: Tensor, columns: Tensor) -> Iterator[Tensor]:
    for start in range(0, len(rows), BLOCK_ROWS):
        yield (rows[start : start + BLOCK_ROWS] @ columns.T / rows.shape[1] + 1.0) ** 3
