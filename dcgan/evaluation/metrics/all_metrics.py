"""All metrics of a set of fakes. To add one, add a function here (see `registry.metric`)."""

from __future__ import annotations

import torch
from torch import Tensor

from dcgan.evaluation.metrics.floor import photo_halves, times_floor
from dcgan.evaluation.metrics.frechet import distance_between, fit_gaussian, frechet_distance
from dcgan.evaluation.metrics.interval import frechet_interval
from dcgan.evaluation.metrics.kernel import KernelDistance, kernel_distance
from dcgan.evaluation.metrics.manifold import (
    ManifoldScores,
    ball_radii,
    precision_recall_density_coverage,
)
from dcgan.evaluation.metrics.parts import JOINED, Part
from dcgan.evaluation.metrics.recognised import Recognised, recognised
from dcgan.evaluation.metrics.registry import RealSet, metric

NEIGHBOURS = 5
"""k of precision, recall, density and coverage, as Naeem et al. 2020 use it."""
INTERVAL_GROUPS = 8
"""Groups of the jackknife. Each costs one more set of eigenvalues."""
REPEATS = 8
"""Random subsets averaged in a comparison at equal sizes."""


@metric(
    "{frechet}", "{frechet}_low", "{frechet}_high", mlflow=["{frechet}"], table=False, both=True
)
def frechet(real: RealSet, fakes: Tensor) -> tuple[float, float, float]:
    """Fréchet distance to the photos, with its 95 % interval over other fakes. Lower is better."""
    distance = frechet_interval(real.gaussian, fakes, groups=INTERVAL_GROUPS)
    return distance.value, distance.low, distance.high


@metric("{kernel}", "{kernel}_standard_error", mlflow=["{kernel}"], table=False, both=True)
def kernel(real: RealSet, fakes: Tensor) -> KernelDistance:
    """Kernel distance to the photos, with its standard error. Lower is better."""
    return kernel_distance(real.features, fakes)


@metric(*JOINED, table=False)
def parts(real: RealSet, fakes: Tensor) -> tuple[float, ...] | None:
    """The Fréchet distances by either network of the extractor `joint` alone."""

    def distance(part: Part) -> float:
        photos = real.once(part.name, lambda: fit_gaussian(part.of(real.features)))
        return distance_between(photos, fit_gaussian(part.of(fakes), "fake"))

    return tuple(map(distance, real.parts)) or None


@metric("spread", mlflow=False, table=False)
def spread(real: RealSet, fakes: Tensor) -> float | None:
    """Total variance of the fakes' features over the photos'; 0 if all fakes are one image."""
    variance = real.once("variance", lambda: float(real.features.var(dim=0).sum()))
    return float(fakes.var(dim=0).sum()) / variance if variance else None


@metric("precision", "recall", "density", "coverage", mlflow=["precision", "coverage"])
def manifold(real: RealSet, fakes: Tensor) -> ManifoldScores | None:
    """Whether the fakes lie among the photos, and the photos among the fakes."""
    if min(len(real.features), len(fakes)) <= NEIGHBOURS:
        return None
    radii = real.once("radii", lambda: ball_radii(real.features, NEIGHBOURS))
    return precision_recall_density_coverage(real.features, fakes, NEIGHBOURS, real_radii=radii)


@metric("{frechet}_times_floor", heading="× floor", digits=2)
def over_floor(real: RealSet, fakes: Tensor) -> float | None:
    """Fréchet distance over that of a perfect generator, both measured at equal sizes."""
    if len(real.features) < 4:
        return None
    size = len(fakes)
    halves = real.once(("halves", size), lambda: photo_halves(real.features, size, repeats=REPEATS))
    return times_floor(halves, fakes)


@metric(
    "recognised",
    "recognised_low",
    "recognised_high",
    "recognised_of_photos",
    mlflow=["recognised"],
    leaderboard=["recognised"],
    table=False,
    of_classes=True,
)
def recognised_share(real: RealSet, classes: Tensor) -> Recognised | None:
    """Share of the fakes that a classifier takes for what the photos show, and of the photos."""
    return None if real.classes is None else recognised(real.classes, classes)


@metric("{frechet}_holdout", "{frechet}_trained", mlflow=["{frechet}_holdout"], table=False)
def against_holdout(real: RealSet, fakes: Tensor) -> tuple[float, float] | None:
    """Fréchet distances to photos never trained on, and to as many training photos.

    Both are averages over sets of equal size, because fewer photos make any distance larger. The
    second is clearly lower where the generator overfits.
    """
    if real.holdout is None:
        return None
    holdout = real.holdout
    size = min(len(holdout), len(real.features), len(fakes))
    rng = torch.Generator().manual_seed(0)

    def some(rows: Tensor) -> Tensor:
        return rows[torch.randperm(len(rows), generator=rng)[:size]]

    sets = [(some(fakes), some(holdout), some(real.features)) for _ in range(REPEATS)]
    return (
        sum(frechet_distance(held_out, fake) for fake, held_out, _ in sets) / REPEATS,
        sum(frechet_distance(trained, fake) for fake, _, trained in sets) / REPEATS,
    )
