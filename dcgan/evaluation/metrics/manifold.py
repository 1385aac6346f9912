"""Precision, recall, density and coverage: balls around samples as a model of their manifold.

Precision and recall: Kynkäänniemi et al. 2019, "Improved Precision and Recall Metric for Assessing
Generative Models" (arXiv:1904.06991). Density and coverage: Naeem et al. 2020, "Reliable Fidelity
and Diversity Metrics for Generative Models" (arXiv:2002.09797). Each sample's ball reaches to its
k-th nearest neighbour in its own set.
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
    """In [0, 1]: the part of the fakes that lie in some real sample's ball."""
    recall: float
    """In [0, 1]: the part of the real samples that lie in some fake's ball."""
    density: float
    """In [0, n_real/k]: real balls that a fake lies in on average, over k; about 1 for fakes
    distributed like the real samples, above 1 where they crowd where real ones do."""
    coverage: float
    """In [0, 1]: the part of the real samples whose ball holds some fake."""


def precision_recall_density_coverage(
    real: ArrayLike, fake: ArrayLike, k: int = 5, *, real_radii: Tensor | None = None
) -> ManifoldScores:
    """Precision, recall, density and coverage of fakes.

    Kynkäänniemi et al. use k = 3 (with 50,000 samples a side), Naeem et al. k = 5 (with 10,000).
    All four depend on k and on both sample sizes, so only values of the same k, n_real and n_fake
    are compared. For a perfect generator and n_real = n_fake = n, density is 1 and coverage
    1 - (n - 1)…(n - k) / ((2n - 1)…(2n - k)) on average: nearly 1 - 2^-k, 0.97 at k = 5.

    A point on a ball's boundary is inside, as both papers write it (implementations that compare
    with < differ at ties only). Where a sample has k duplicates its ball is a single point, which
    holds only what equals it exactly: fakes that are copies of such photos still count, and a
    generator that always makes the same image has recall 0 unless a photo equals it.

    Args:
        real: (n1, d), numpy or torch, any float dtype, finite; computed in float64.
        fake: (n2, d) from the same extractor.
        k: neighbours that a ball reaches to, at least 1 and less than n1 and n2.
        real_radii: `ball_radii(real, k)`, if known already.

    Raises:
        EvaluationError: too few rows for k, different d, NaN, infinite or too large features.
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
    for _, inside in within_radius(samples, centres, radii):
        counts.append(inside.sum(dim=1))
        hit |= inside.any(dim=0)
    return torch.cat(counts), hit
