"""Euclidean distances between the rows of two matrices: many roughly, few exactly.

|x - y|² = |x|² + |y|² - 2 x·y is quick (a matrix product) but loses the digits of small distances.
So it only tells which pairs may matter, with a bound on its rounding error (Higham 2002, "Accuracy
and Stability of Numerical Algorithms", section 3.1); those are measured again from the difference
x - y itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dcgan.errors import EvaluationError

BLOCK_NUMBERS = 2**22
"""float64 numbers in one block of distances or differences (32 MiB); some are held at once."""


class Block(NamedTuple):
    """Squared distances of some queries to all references, as a matrix product gives them."""

    start: int
    """Row of the first query of the block."""
    squared: Tensor
    """(rows, m)"""
    error: Tensor
    """(rows, m), the most by which each may be off."""


def squared_distance_blocks(queries: Tensor, references: Tensor) -> Iterator[Block]:
    """Squared distances of all queries (n, d) to all references (m, d), float64, finite.

    Raises:
        EvaluationError: a square is too large for float64.
    """
    # Distances do not change when both sets move, and rounding errors shrink with the norms.
    centre = references.mean(dim=0)
    references = references - centre
    norms = references.square().sum(dim=1)
    # Products of length d are off by d·eps·|x||y| at most; a few more for sums and the centring.
    relative = (queries.shape[1] + 8) * torch.finfo(torch.float64).eps
    step = max(1, BLOCK_NUMBERS // max(references.shape))
    for start in range(0, len(queries), step):
        block = queries[start : start + step] - centre
        own = block.square().sum(dim=1, keepdim=True)
        squared = (own + norms).addmm_(block, references.T, alpha=-2.0)
        if not squared.isfinite().all():
            raise EvaluationError("the features are too large for distances; check the extractor")
        error = (own.sqrt() + norms.sqrt()).square_().mul_(relative)
        yield Block(start, squared, error)


class Pairs:
    """Distances of chosen pairs. Pairs of equal rows are measured once: a generator that makes the
    same image again and again has millions of them."""

    def __init__(self, queries: Tensor, references: Tensor) -> None:
        self._queries, self._references = queries, references
        self._query_twins, self._reference_twins = _first_equal(queries), _first_equal(references)

    def distances(self, row: Tensor, column: Tensor) -> Tensor:
        """|queries[row] - references[column]| of each pair, (pairs,)."""
        count = len(self._references)
        keys = self._query_twins[row] * count + self._reference_twins[column]
        distinct, which = keys.unique(return_inverse=True)
        return _measured(self._queries, self._references, distinct // count, distinct % count)[
            which
        ]


def _first_equal(rows: Tensor) -> Tensor:
    """For each row the index of the first row with the same bytes, int64 (n,)."""
    first: dict[bytes, int] = {}
    return torch.tensor(
        [
            first.setdefault(blake2b(row, digest_size=16).digest(), index)
            for index, row in enumerate(rows.contiguous().numpy())
        ]
    )


def _measured(queries: Tensor, references: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """|queries[row] - references[column]| of each pair, (pairs,), from the differences.

    Summed by numpy: a pair's sum is the same to the last bit however many pairs are at hand, and
    with x and y exchanged. torch would cut few long rows into one part for each thread.
    """
    distances = torch.empty(len(row), dtype=torch.float64)
    step = max(1, BLOCK_NUMBERS // queries.shape[1])
    for start in range(0, len(row), step):
        pairs = slice(start, start + step)
        difference = queries[row[pairs]] - references[column[pairs]]
        distances[pairs] = torch.from_numpy(np.square(difference.numpy()).sum(axis=1)).sqrt()
    return distances
