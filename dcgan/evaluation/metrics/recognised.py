"""The share of images that a classifier recognises as what the photos show.

A class is typical if the classifier gives it to at least `TYPICAL_SHARE` of the photos and to at
least `TYPICAL_PHOTOS` of them. An image is recognised if its best class is typical.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from dcgan.errors import EvaluationError

TYPICAL_SHARE = 0.03
"""30 times the share of a class if photos got ImageNet's 1,000 classes by chance."""
TYPICAL_PHOTOS = 3
"""With fewer photos than a hundred, two that got the same class may have got it by chance."""
LEAST_SHARE = 0.2
"""Smallest recognised share of the photos with which the share of images says something."""
NORMAL_QUANTILE = 1.959963984540054
"""Of a 95 % interval."""


class Recognised(NamedTuple):
    """Shares, 0 to 1."""

    share: float
    """Of the images."""
    low: float
    """The share's 95 % interval over other images of the same kind begins here,"""
    high: float
    """and ends here."""
    of_photos: float
    """Of the photos, each judged by the classes of all others."""


def recognised(photos: Tensor, images: Tensor) -> Recognised | None:
    """Compare the best classes of photos, int64 `(n,)`, and of images, int64 `(m,)`.

    None if fewer than `LEAST_SHARE` of the photos are recognised: what they show is then hardly
    among the classifier's classes. Raises `EvaluationError` for no photos, no images, or classes
    that are not whole numbers from 0.
    """
    for name, classes in (("photos", photos), ("images", images)):
        if (
            classes.ndim != 1
            or not len(classes)
            or classes.dtype != torch.int64
            or classes.min() < 0
        ):
            raise EvaluationError(
                f"classes of {name} must be int64 from 0, one for each, but are {classes.dtype} of "
                f"the shape {tuple(classes.shape)}"
            )
    of_photos = recognised_photos(photos)
    if of_photos < LEAST_SHARE:
        return None
    counts = photos.bincount()
    found = int(torch.isin(images, _typical(counts, len(photos)).nonzero()).sum())
    return Recognised(found / len(images), *wilson_interval(found, len(images)), of_photos)


def recognised_photos(photos: Tensor) -> float:
    """The recognised share of photos by their best classes, int64 `(n,)`.

    Each photo is judged by the typical classes of all others, as a new photo would be: a photo does
    not make its own class typical.
    """
    # without one of its photos
    typical = _typical(photos.bincount() - 1, len(photos) - 1)
    return float(typical[photos].double().mean())


def why_not_given(photos: Tensor) -> str:
    """Why the share is not given for photos with these best classes; empty if it is."""
    share = recognised_photos(photos)
    if share >= LEAST_SHARE:
        return ""
    return (
        f"recognised is not given: the network recognises only {share:.0%} of the photos, and "
        f"below {LEAST_SHARE:.0%} the share of images says nothing"
    )


def wilson_interval(found: int, count: int) -> tuple[float, float]:
    """95 % interval of a share, `found` of `count`; also for 0 and all of them.

    Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".
    """
    share, square = found / count, NORMAL_QUANTILE**2 / count
    centre = (share + square / 2) / (1 + square)
    half = math.sqrt(square * (share * (1 - share) + square / 4)) / (1 + square)
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    # exact where rounding would leave a little
    return (0.0 if found == 0 else low), (1.0 if found == count else high)


def _typical(counts: Tensor, photos: int) -> Tensor:
    """Whether each class is typical, by its number of photos; bool like `counts`."""
    return counts >= max(TYPICAL_PHOTOS, math.ceil(TYPICAL_SHARE * photos))
