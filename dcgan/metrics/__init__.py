"""Numbers for generated images: images -> features -> statistics -> number, one layer a module.

`features` runs an extractor (`random_network` is the one that needs no download). `frechet`,
`kernel` and `manifold` compare two sets of features (`moments` for sets too large to keep,
`neighbours` for single images), `interval`, `floor` and `resolution` say what such a number is
worth, `balance` looks at the losses.
"""

from dcgan.metrics.balance import log_loss_ratio, loss_imbalance, penalised_score
from dcgan.metrics.features import Extractor, extract, load_extractor
from dcgan.metrics.floor import MatchedFloor, NoiseFloor, noise_floor, times_floor
from dcgan.metrics.frechet import (
    Gaussian,
    distance_between,
    fit_gaussian,
    frechet_distance,
    frechet_from_moments,
    gaussian_from_moments,
)
from dcgan.metrics.interval import FrechetInterval, frechet_interval
from dcgan.metrics.kernel import KernelDistance, kernel_distance
from dcgan.metrics.manifold import ManifoldScores, precision_recall_density_coverage
from dcgan.metrics.moments import StreamingMoments
from dcgan.metrics.neighbours import Neighbours, nearest_neighbours
from dcgan.metrics.resolution import Resolution, resolvable_difference

__all__ = [
    "Extractor",
    "FrechetInterval",
    "Gaussian",
    "KernelDistance",
    "ManifoldScores",
    "MatchedFloor",
    "Neighbours",
    "NoiseFloor",
    "Resolution",
    "StreamingMoments",
    "distance_between",
    "extract",
    "fit_gaussian",
    "frechet_distance",
    "frechet_from_moments",
    "frechet_interval",
    "gaussian_from_moments",
    "kernel_distance",
    "load_extractor",
    "log_loss_ratio",
    "loss_imbalance",
    "nearest_neighbours",
    "noise_floor",
    "penalised_score",
    "precision_recall_density_coverage",
    "resolvable_difference",
    "times_floor",
]
