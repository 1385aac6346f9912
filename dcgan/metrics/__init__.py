"""Numbers for generated images: images -> features -> statistics -> number, one layer a module.

`features` runs an extractor (`random_network` is the one that needs no download), `frechet` and
`kernel` compare two sets of features, `balance` looks at the losses.
"""

from dcgan.metrics.balance import log_loss_ratio, loss_imbalance, penalised_score
from dcgan.metrics.features import Extractor, extract, load_extractor
from dcgan.metrics.frechet import (
    Gaussian,
    distance_between,
    fit_gaussian,
    frechet_distance,
    frechet_from_moments,
)
from dcgan.metrics.kernel import KernelDistance, kernel_distance

__all__ = [
    "Extractor",
    "Gaussian",
    "KernelDistance",
    "distance_between",
    "extract",
    "fit_gaussian",
    "frechet_distance",
    "frechet_from_moments",
    "kernel_distance",
    "load_extractor",
    "log_loss_ratio",
    "loss_imbalance",
    "penalised_score",
]
