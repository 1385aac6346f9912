"""What the measurements on random disjoint subsets of the photos share: checks and sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from dcgan.errors import EvaluationError
from dcgan.metrics.matrix import ArrayLike, feature_matrix


def random_orders(matrix: Tensor, repeats: int, seed: int) -> Iterator[Tensor]:
    """The rows of `matrix` in a random order, `repeats` times."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(repeats):
        yield matrix[torch.randperm(len(matrix), generator=generator)]


def subset_sizes(sizes: Sequence[int] | None, most: int) -> tuple[int, ...]:
    """Sizes of subsets, largest first.

    Args:
        sizes: as asked for; none: `most` and four smaller ones, down to a quarter of it.
        most: the largest size there are photos for, at least 2.

    Raises:
        EvaluationError: none given, or one is not from 2 to `most`.
    """
    if sizes is None:
        sizes = [max(2, round(most / 2 ** (step / 2))) for step in range(5)]
    chosen = tuple(sorted(set(sizes), reverse=True))
    if not chosen or chosen[-1] < 2 or chosen[0] > most:
        raise EvaluationError(
            f"sizes of subsets must be from 2 to {most} with so many photos but got {chosen}"
        )
    return chosen


def enough_photos(features: ArrayLike, least: int) -> Tensor:
    """The features of the photos, checked.

    Raises:
        EvaluationError: see `feature_matrix`, or fewer than `least` rows.
    """
    matrix = feature_matrix(features, "real")
    if len(matrix) < least:
        raise EvaluationError(
            f"disjoint subsets of the photos need at least {least} of them but got {len(matrix)}"
        )
    return matrix


def enough_repeats(repeats: int, least: int) -> None:
    """Raise EvaluationError unless there are at least so many repeats."""
    if repeats < least:
        raise EvaluationError(f"repeats must be at least {least} but got {repeats}")
