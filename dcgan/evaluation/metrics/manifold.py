"""Precision, recall, density and coverage: balls around samples as a model of their manifold.

Precision and recall: Kynkäänniemi et al. 2019, "Improved Precision and Recall Metric for Assessing
Generative Models" (arXiv:1904.06991). Density and coverage: Naeem et al. 2020, "Reliable Fidelity
and Diversity Metrics for Generative Models" (arXiv:2002.09797). A sample's ball reaches to its k-th
nearest neighbour in its own set.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics.matrix import ArrayLike, feature_pair
from dcgan.evaluation.metrics.neighbours import nearest_neighbours, within_radius


class ManifoldScores(NamedTuple):
    """Two numbers for fidelity (precision, density), two for diversity (recall, coverage)."""

    precision: float
    """In [0, 1]: the part of the fakes in some real ball."""
    recall: float
    """In [0, 1]: the part of the real samples in some fake's ball."""
    density: float
    """In [0, n_real/k]: the mean number of real balls around a fake, over k. About 1 for fakes
    distributed like the real samples, above 1 for fakes crowded where real samples are dense."""
    coverage: float
    """In [0, 1]: the part of the real balls that hold a fake."""


def precision_recall_density_coverage(
    real: ArrayLike, fake: ArrayLike, k: int = 5, *, real_radii: Tensor | None = None
) -> ManifoldScores:
    """Precision, recall, density and coverage of fakes `(n2, d)` against `(n1, d)` real samples.

    Kynkäänniemi et al. use k = 3 with 50,000 samples a side, Naeem et al. k = 5 with 10,000.
    Compare only values of the same k, n1 and n2. For a perfect generator and n1 = n2 = n, density
    is 1 and coverage 1 - (n - 1)…(n - k) / ((2n - 1)…(2n - k)) on average, nearly 1 - 2^-k.

    A point on a ball's boundary is inside, as in both papers. The ball of a sample with k
    duplicates is a single point, which holds exact copies only.

    A ball reaches to `k` neighbours, at least 1 and less than n1 and n2. `real_radii` are
    `ball_radii(real, k)`, if known already. Raises `EvaluationError` for too few rows, different d,
    NaN, infinite or too large features.
    """
    real_rows, fake_rows = feature_pair(real, fake)
    smallest = min(len(real_rows), len(fake_rows))
    if not 1 <= k < smallest:
        raise EvaluationError(
            f"k must be at least 1 and less than the number of images of either set ({smallest} "
            f"in the smaller one) but got {k}; lower k, add photos or raise eval.n_samples"
        )
    if real_radii is None:
        real_radii = ball_radii(real_rows, k)
    in_real_balls, hit_real = _counts(fake_rows, real_rows, real_radii)
    in_fake_balls, _ = _counts(real_rows, fake_rows, ball_radii(fake_rows, k))
    return ManifoldScores(
        precision=float((in_real_balls > 0).double().mean()),
        recall=float((in_fake_balls > 0).double().mean()),
        density=float(in_real_balls.double().mean()) / k,
        coverage=float(hit_real.double().mean()),
    )


def ball_radii(centres: ArrayLike, k: int) -> Tensor:
    """Distance of each sample to its k-th nearest neighbour in its own set, float64 (n,)."""
    return nearest_neighbours(centres, centres, k, exclude_self=True).distances[:, -1]


def _counts(samples: Tensor, centres: Tensor, radii: Tensor) -> tuple[Tensor, Tensor]:
    """In how many balls each sample lies, int64 (n,), and which balls hold a sample, bool (m,)."""
    counts, hit = [], torch.zeros(len(centres), dtype=torch.bool)
    for inside in within_radius(samples, centres, radii):
        counts.append(inside.sum(dim=1))
        hit |= inside.any(dim=0)
    return torch.cat(counts), hit
