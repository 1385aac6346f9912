"""The offline extractor that runs by default: the random network and where the colours are.

`random` describes an image by statistics over all its pixels, so it cannot tell a cat from the
same cat upside down. Here the mean colour of the whole image makes way for the mean colours of
4 × 4 fields (`fd_layout`). What each of the two sees is tabled in docs/metrics.md.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from dcgan.evaluation.extractors.random import WEIGHTS, RandomNetwork, load_random_network

FIELDS = 4
"""Along each side. With 4 the dimension (499) stays below the reference case's 527 photos, so that
their covariance is not rank-deficient; pooling the last convolution's 128 channels by quarters
instead would make it 838."""
FIELD_WEIGHT = 0.7
"""Of the fields' colours, whose variance is large beside that of the convolutions and drowns what
changes texture only. On 527 photos of cats blur and noise are seen a quarter less clearly than by
`random` with 1, a seventh less with 0.7; with 0.5, those upside down are hardly seen
(`benchmarks/evaluation/metric_response.py`)."""
DEFINITION = "dcgan layout network 1"
"""Changes with anything in this module that changes the features, and so the fingerprint."""
COLOURS = 3
"""The first features of `random`: mean R, G, B."""


class LayoutNetwork:
    """`random` with a thumbnail in place of the mean colour.

    d = 499: mean R, then G, then B of each of 4 × 4 fields, row by row, times 0.7 (48), then all
    of `random`'s features but its mean R, G, B (451).
    """

    name = "layout"
    frechet_name = "fd_layout"
    kernel_name = "kd_layout"
    source = "shipped with the package"
    dimension = COLOURS * FIELDS**2 + RandomNetwork.dimension - COLOURS

    def __init__(self, network: RandomNetwork) -> None:
        self.network = network
        self.fingerprint = hashlib.sha256(
            f"{DEFINITION}:{network.fingerprint}".encode()
        ).hexdigest()

    @property
    def device(self) -> torch.device:
        """Where the images must be."""
        return self.network.device

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) on `device` -> float32 (N, 499); any size >= 1, not resized."""
        fields = F.adaptive_avg_pool2d(images.float() / 127.5 - 1.0, FIELDS)
        return torch.cat([FIELD_WEIGHT * fields.flatten(1), self.network(images)[:, COLOURS:]], 1)


def load_layout_network(device: torch.device, path: Path = WEIGHTS) -> LayoutNetwork:
    """Read the shipped weights, check their hash and place them on `device`.

    Raises:
        EvaluationError: the file is missing or is not the one that shipped.
    """
    return LayoutNetwork(load_random_network(device, path))
