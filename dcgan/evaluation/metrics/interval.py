"""How far a Fréchet distance would move with other fakes of the same generator.

The method is the delete-a-group jackknife (Tukey 1958; Kott 2001, "The Delete-a-Group Jackknife")
with the pseudo-values of Busing, Meijer & van der Leeden 1999, "Delete-m Jackknife for Unequal m",
because the fakes rarely divide evenly into groups. A bootstrap would repeat fakes, which raises the
distance itself.

The limits are a factor below and above the value. Distances are skewed to high values, and limits
at equal differences miss the mean on one side. docs/metric_accuracy.md has the measured coverage.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics.frechet import Gaussian, distance_between, fit_gaussian, sum_of_roots
from dcgan.evaluation.metrics.matrix import ArrayLike, feature_matrix

LOST_SHARE = 1e-5
"""Half of the largest part of a distance that rounding may change."""


class FrechetInterval(NamedTuple):
    """A Fréchet distance and its uncertainty over other sets of as many fakes."""

    value: float
    """The distance to all fakes, >= 0, equal to `frechet_distance`."""
    low: float
    """In [0, value]."""
    high: float
    """>= value."""
    standard_error: float
    """>= 0, of the value over new fakes."""


def frechet_interval(
    real: Gaussian | ArrayLike, fake: ArrayLike, *, groups: int = 16
) -> FrechetInterval:
    """The distance with a 95 % confidence interval for its mean over new sets of as many fakes.

    It covers other noise, not the upward bias of this n, another training seed or other photos.

    Args:
        real: the photos' features (n1, d), or their Gaussian.
        fake: (n2, d), n2 >= 3, independent draws. Fake i belongs to group i mod `groups`.
        groups: from 2; at most n2 are used.

    Raises `EvaluationError` like `frechet_distance`, and for fewer than 3 fakes or 2 groups.
    """
    if groups < 2:
        raise EvaluationError(f"an interval needs at least 2 groups of fakes but got {groups}")
    gaussian = real if isinstance(real, Gaussian) else fit_gaussian(real, "real")
    fakes = feature_matrix(fake, "fake", least=3)
    count = len(fakes)
    groups = min(groups, count)
    value = distance_between(gaussian, fit_gaussian(fakes, "fake"))
    group = torch.arange(count) % groups
    # how many times larger the whole set is than each group
    shares = count / group.bincount().double()
    left_out = _distances_without(gaussian, fakes, group)
    # The bias cancels to first order in a pseudo-value, so groups of different size compare.
    pseudo = shares * value - (shares - 1.0) * left_out
    centre = groups * value - ((1.0 - 1.0 / shares) * left_out).sum()
    standard_error = float(((pseudo - centre).square() / (shares - 1.0)).mean().sqrt())
    low, high = _limits(value, standard_error, groups - 1)
    return FrechetInterval(value, low, high, standard_error)


def _distances_without(real: Gaussian, fakes: Tensor, group: Tensor) -> Tensor:
    """The distance to all fakes but one group, for each group in turn, float64 (groups,).

    `group`, int64 (n,), holds every number from 0 to the largest. With the photos' covariance
    S1 = A'A, tr (S1 S2)^½ is tr (A S2 A')^½. The moments of the rest are those of all fakes less
    the group's, so a group costs one set of eigenvalues. Where that is not exact enough, and with
    fewer fakes than rows of A, the distance is computed like any other.
    """
    centre = fakes.mean(dim=0)
    centred = fakes - centre
    seen, lengths = centred @ real.factor.T, centred.square().sum(dim=1)
    scatter, length = seen.T @ seen, lengths.sum()
    distances = []
    for one in range(int(group.max()) + 1):
        out = group == one
        rest = len(fakes) - int(out.sum())
        shift = -centred[out].sum(dim=0) / rest  # of the rest's mean from the centre
        seen_shift = real.factor @ shift
        seen_rest = scatter - seen[out].T @ seen[out] - rest * torch.outer(seen_shift, seen_shift)
        distance, lost = 0.0, math.inf
        if rest > len(real.factor) > 0:
            cross, lost = map(float, sum_of_roots(seen_rest / (rest - 1)))
            variance = (length - lengths[out].sum() - rest * shift.square().sum()) / (rest - 1)
            mean_term = (real.mean - centre - shift).square().sum()
            distance = float(mean_term + real.factor.square().sum() + variance - 2.0 * cross)
        if lost > LOST_SHARE * distance:
            distance = distance_between(real, fit_gaussian(fakes[~out], "fake"))
        distances.append(distance)
    return torch.tensor(distances, dtype=torch.float64)


def _limits(value: float, standard_error: float, degrees: int) -> tuple[float, float]:
    """The 95 % limits by Student's t with so many degrees of freedom."""
    from scipy.special import stdtrit  # late: 0.1 s

    margin = float(stdtrit(degrees, 0.975)) * standard_error
    if standard_error >= value:  # a factor says nothing any more, and at 0 there is none
        return max(0.0, value - margin), value + margin
    factor = math.exp(margin / value)
    return value / factor, value * factor
