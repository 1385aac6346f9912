"""Nearest neighbours between feature sets, by Euclidean distance: exact, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics.matrix import ArrayLike, as_float64

BLOCK_NUMBERS = 2**22
"""float64 numbers in one block of distances or differences (32 MiB); some are held at once."""


class Neighbours(NamedTuple):
    """The k nearest references of each query, nearest first."""

    distances: Tensor
    """(n, k) float64, >= 0, ascending along a row; equal rows are at exactly 0."""
    indices: Tensor
    """(n, k) int64, rows of the references; of equally near ones, the first."""


def nearest_neighbours(
    queries: ArrayLike, references: ArrayLike, k: int = 1, *, exclude_self: bool = False
) -> Neighbours:
    """The k nearest references of each query.

    Time grows with n · m · d (the more for each reference that is equally near as the k-th);
    memory is that of the sets in float64, the references twice, and a few blocks
    (`neighbours.BLOCK_NUMBERS`).

    Args:
        queries: (n, d), numpy or torch, any float dtype, finite; n >= 1.
        references: (m, d).
        k: how many neighbours, from 1 to m (m - 1 with `exclude_self`).
        exclude_self: the queries are the references, row by row, and row i is no neighbour of
            itself (its duplicates are).

    Raises:
        EvaluationError: bad shapes, different d, NaN, infinite or too large values, or too few
            references for k.
    """
    query_rows, reference_rows = _row_pair(queries, references)
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
        # k references are certainly no farther than this; who may be as near is a candidate
        farthest = (squared + error).kthvalue(k, dim=1, keepdim=True).values
        row, column = (squared - error <= farthest).nonzero(as_tuple=True)
        exact = pairs.distances(start + row, column)
        chosen = _first_k(row, exact, k)
        rows = slice(start, start + len(squared))
        distances[rows], indices[rows] = exact[chosen].view(-1, k), column[chosen].view(-1, k)
    return Neighbours(distances, indices)


def within_radius(
    queries: ArrayLike, references: ArrayLike, radii: Tensor
) -> Iterator[tuple[int, Tensor]]:
    """Which queries lie in which reference's ball, its boundary included.

    As exact as `nearest_neighbours`: where the comparison is close, the distance is computed just
    as there, so that a radius taken from it includes the neighbour that set it.

    Args:
        queries: (n, d), see `nearest_neighbours`.
        references: (m, d), the balls' centres.
        radii: (m,) float64, >= 0, finite.

    Yields:
        The first row of a block of queries, and bool (rows, m).

    Raises:
        EvaluationError: bad shapes, different d, or NaN, infinite or too large values.
    """
    query_rows, reference_rows = _row_pair(queries, references)
    pairs = Pairs(query_rows, reference_rows)
    for start, squared, error in squared_distance_blocks(query_rows, reference_rows):
        squared_radii = radii.square()
        inside = squared <= squared_radii
        # the radius' own square is rounded, too
        margin = error + 4.0 * torch.finfo(torch.float64).eps * squared_radii
        row, column = ((squared - squared_radii).abs() <= margin).nonzero(as_tuple=True)
        exact = pairs.distances(start + row, column)
        inside[row, column] = exact <= radii[column]
        yield start, inside


def _row_pair(queries: ArrayLike, references: ArrayLike) -> tuple[Tensor, Tensor]:
    query_rows, reference_rows = _rows(queries, "queries"), _rows(references, "references")
    if query_rows.shape[1] != reference_rows.shape[1]:
        raise EvaluationError(
            f"queries have {query_rows.shape[1]} dimensions but references "
            f"{reference_rows.shape[1]}; compare images of the same size or extractor only"
        )
    return query_rows, reference_rows


def _rows(values: ArrayLike, name: str) -> Tensor:
    """`feature_matrix` for sets of which one row is enough."""
    rows = as_float64(values)
    if rows.ndim != 2 or 0 in rows.shape:
        raise EvaluationError(
            f"the {name} must have the shape (images, dimensions), at least one of each, "
            f"but got {tuple(rows.shape)}"
        )
    if not rows.isfinite().all():
        raise EvaluationError(
            f"the {name} hold NaN or infinite values; check the images and the extractor"
        )
    return rows


def _first_k(row: Tensor, distance: Tensor, k: int) -> Tensor:
    """Positions of the k smallest distances of each row, row after row, ascending, (rows · k,).

    Args:
        row: (pairs,) int64, ascending from 0, each at least k times.
        distance: (pairs,)
    """
    by_distance = distance.argsort(stable=True)
    order = by_distance[row[by_distance].argsort(stable=True)]
    counts = row.bincount()
    first = counts.cumsum(0) - counts
    return order[(first[:, None] + torch.arange(k)).flatten()]


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
