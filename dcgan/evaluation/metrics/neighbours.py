"""Nearest neighbours between feature sets, by Euclidean distance: exact, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics.matrix import ArrayLike, feature_pair

ROLES = ("query", "reference")
BLOCK_NUMBERS = 2**22
"""float64 numbers in one block of distances or differences (32 MiB). A few blocks exist at once."""


class Neighbours(NamedTuple):
    """The k nearest references of each query, nearest first."""

    distances: Tensor
    """(n, k) float64, >= 0, ascending along a row; equal rows are at exactly 0."""
    indices: Tensor
    """(n, k) int64, rows of the references. Equally near references keep their order."""


def nearest_neighbours(
    queries: ArrayLike, references: ArrayLike, k: int = 1, *, exclude_self: bool = False
) -> Neighbours:
    """The k nearest of the references `(m, d)` for each of the queries `(n, d)`.

    Time grows with n · m · d, and with the number of references that are as near as the k-th.
    Memory holds both sets in float64, the references twice, and a few blocks (`BLOCK_NUMBERS`).

    k is from 1 to m, or to m - 1 with `exclude_self`: the queries are then the references, and row
    i is not a neighbour of itself, but its duplicates are. Raises `EvaluationError` for bad shapes,
    different d, NaN, infinite or too large values, or a k out of range.
    """
    query_rows, reference_rows = feature_pair(queries, references, ROLES, least=1)
    if exclude_self and query_rows.shape != reference_rows.shape:
        raise EvaluationError(
            "exclude_self needs the queries to be the references but there are "
            f"{len(query_rows)} and {len(reference_rows)} of them"
        )
    available = len(reference_rows) - exclude_self
    if not 1 <= k <= available:
        raise EvaluationError(
            f"k must be from 1 to {available}, the number of references to choose from, but got {k}"
        )
    pairs = Pairs(query_rows, reference_rows)
    distances = torch.empty((len(query_rows), k), dtype=torch.float64)
    indices = torch.empty((len(query_rows), k), dtype=torch.int64)
    for start, squared, error in squared_distance_blocks(query_rows, reference_rows):
        if exclude_self:
            squared[torch.arange(len(squared)), start + torch.arange(len(squared))] = torch.inf
        # At least k references lie within `farthest`. All that may lie within it are candidates.
        farthest = (squared + error).kthvalue(k, dim=1, keepdim=True).values
        row, column = (squared - error <= farthest).nonzero(as_tuple=True)
        exact = pairs.distances(start + row, column)
        chosen = _first_k(row, exact, k)
        rows = slice(start, start + len(squared))
        distances[rows], indices[rows] = exact[chosen].view(-1, k), column[chosen].view(-1, k)
    return Neighbours(distances, indices)


def within_radius(queries: ArrayLike, references: ArrayLike, radii: Tensor) -> Iterator[Tensor]:
    """Which of the queries `(n, d)` lie in which reference's ball, its boundary included.

    Yields bool (rows, m) for blocks of consecutive queries. The references `(m, d)` are the
    balls' centres; `radii` are (m,) float64, >= 0, finite. Close comparisons use the distances of
    `nearest_neighbours`, so a radius taken from there includes the neighbour that set it. Raises
    `EvaluationError` for bad shapes, different d, or NaN, infinite or too large values.
    """
    query_rows, reference_rows = feature_pair(queries, references, ROLES, least=1)
    pairs = Pairs(query_rows, reference_rows)
    for start, squared, error in squared_distance_blocks(query_rows, reference_rows):
        squared_radii = radii.square()
        inside = squared <= squared_radii
        # the radius' square is rounded, too
        margin = error + 4.0 * torch.finfo(torch.float64).eps * squared_radii
        row, column = ((squared - squared_radii).abs() <= margin).nonzero(as_tuple=True)
        exact = pairs.distances(start + row, column)
        inside[row, column] = exact <= radii[column]
        yield inside


def _first_k(row: Tensor, distance: Tensor, k: int) -> Tensor:
    """Positions of the k smallest distances of each row, row after row, ascending, (rows · k,).

    `row` is ascending from 0 and holds each number at least k times.
    """
    by_distance = distance.argsort(stable=True)
    order = by_distance[row[by_distance].argsort(stable=True)]
    counts = row.bincount()
    first = counts.cumsum(0) - counts
    return order[(first[:, None] + torch.arange(k)).flatten()]


def squared_distance_blocks(
    queries: Tensor, references: Tensor
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Squared distances by a matrix product: first row, (rows, m), the largest error of each."""
    # Centring keeps the distances and makes the norms, and so the rounding errors, smaller.
    centre = references.mean(dim=0)
    references = references - centre
    norms = references.square().sum(dim=1)
    # A product of length d is off by d·eps·|x||y| at most. 8 more cover the sums and the centring.
    relative = (queries.shape[1] + 8) * torch.finfo(torch.float64).eps
    step = max(1, BLOCK_NUMBERS // max(references.shape))
    for start in range(0, len(queries), step):
        block = queries[start : start + step] - centre
        own = block.square().sum(dim=1, keepdim=True)
        squared = (own + norms).addmm_(block, references.T, alpha=-2.0)
        if not squared.isfinite().all():
            raise EvaluationError("the features are too large for distances; check the extractor")
        error = (own.sqrt() + norms.sqrt()).square_().mul_(relative)
        yield start, squared, error


class Pairs:
    """Distances of chosen pairs.

    Pairs of equal rows are measured once: a collapsed generator makes millions of them.
    """

    def __init__(self, queries: Tensor, references: Tensor) -> None:
        self._queries, self._references = queries, references
        self._query_twins, self._reference_twins = _first_equal(queries), _first_equal(references)

    def distances(self, row: Tensor, column: Tensor) -> Tensor:
        """|queries[row] - references[column]| of each pair, (pairs,)."""
        count = len(self._references)
        keys = self._query_twins[row] * count + self._reference_twins[column]
        distinct, which = keys.unique(return_inverse=True)
        row, column = distinct // count, distinct % count
        return _measured(self._queries, self._references, row, column)[which]


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

    numpy sums each pair to the same bits whatever the number of pairs, and with x and y exchanged.
    torch would split few long rows between its threads.
    """
    distances = torch.empty(len(row), dtype=torch.float64)
    step = max(1, BLOCK_NUMBERS // queries.shape[1])
    for start in range(0, len(row), step):
        pairs = slice(start, start + step)
        difference = queries[row[pairs]] - references[column[pairs]]
        distances[pairs] = torch.from_numpy(np.square(difference.numpy()).sum(axis=1)).sqrt()
    return distances
