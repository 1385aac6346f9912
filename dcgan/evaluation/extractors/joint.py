"""The extractor `joint`: what an image shows, and what it looks like, side by side.

A classifier's features alone can be pleased without better images, above all by a generator that
was trained against such a network (Kynkäänniemi et al. 2023, *The Role of ImageNet Classes in
Fréchet Inception Distance*, arXiv:2203.06026). `layout` has never been taught anything, so it sees
wrong colours and stripes that `imagenet` forgives; it does not see what is shown. A generator must
satisfy both. docs/metrics.md has the measurements.
"""

from __future__ import annotations

import hashlib
from functools import partial

import torch
from torch import Tensor

from dcgan.evaluation.extractors.base import Extractor
from dcgan.evaluation.extractors.imagenet import load_imagenet
from dcgan.evaluation.extractors.random_network import load_random_network
from dcgan.evaluation.metrics.parts import Part

LAYOUT_SCALE = 12.0
"""Of layout's features. Photos then vary as much in all of them as in imagenet's: the total
variances are as 144 to 1, measured 152 on 527 photos of cats and 150 on 512 toy cats
(`benchmarks/evaluation/flattered.py`). It counts squared in a Fréchet distance."""
DEFINITION = "dcgan joint 1"
"""Part of the fingerprint. Change it with any change of the features but those of the parts."""


def load_joint(device: torch.device) -> Extractor:
    """The extractor on `device`. Raises the errors of `load_imagenet` and `load_random_network`."""
    seen, looks = load_imagenet(device), load_random_network("layout", device)
    definition = f"{DEFINITION}:{LAYOUT_SCALE}:{seen.fingerprint}:{looks.fingerprint}"
    end = seen.dimension + looks.dimension
    return Extractor(
        name="joint",
        frechet_name="fd_joint",
        kernel_name="kd_joint",
        dimension=end,
        fingerprint=hashlib.sha256(definition.encode()).hexdigest(),
        source=f"{seen.source} and a network {looks.source}",
        device=device,
        function=partial(_features, seen, looks),
        with_classes=partial(_features_and_classes, seen, looks),
        parts=(
            Part(seen.frechet_name, slice(0, seen.dimension)),
            Part(looks.frechet_name, slice(seen.dimension, end), LAYOUT_SCALE),
        ),
    )


def _features(seen: Extractor, looks: Extractor, images: Tensor) -> Tensor:
    return torch.cat([seen.function(images), LAYOUT_SCALE * looks.function(images)], dim=1)


def _features_and_classes(
    seen: Extractor, looks: Extractor, images: Tensor
) -> tuple[Tensor, Tensor]:
    assert seen.with_classes is not None  # imagenet is a classifier
    features, classes = seen.with_classes(images)
    return torch.cat([features, LAYOUT_SCALE * looks.function(images)], dim=1), classes
