"""Does this generator repeat its training photos? Judged by pictures and by features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from dcgan.data.bank import PhotoBank
from dcgan.data.duplicates import find_duplicates
from dcgan.evaluation import real_features
from dcgan.memorisation_panel import closest_pairs_panel
from dcgan.metrics.features import Extractor, extract
from dcgan.metrics.memorisation import (
    Memorisation,
    calibrate,
    calibrate_photos,
    memorisation,
    picture_labels,
    picture_vectors,
)


@dataclass(frozen=True, eq=False)
class MemorisationReport:
    """Generated images beside the photos they were trained on."""

    images: Tensor
    """uint8 (n, 3, S, S), generated."""
    photos: Tensor
    """uint8 (N, 3, S, S), trained on."""
    pictures: Memorisation
    """By coarse pixels: what counts."""
    features: Memorisation
    """By the extractor's features: a second opinion, blind to what the extractor does not see."""

    def as_record(self) -> dict[str, Any]:
        """Flat plain data; `…_of_photos` is what chance gives."""
        return {
            "memorised_fraction": self.pictures.fraction,
            "memorised_fraction_of_photos": self.pictures.calibration_fraction,
            "memorised_threshold": self.pictures.threshold,
            "memorised_smallest_ratio": float(self.pictures.ratios.min()),
            "memorised_fraction_by_features": self.features.fraction,
            "memorised_fraction_by_features_of_photos": self.features.calibration_fraction,
        }

    def panel(self) -> Image.Image:
        """The closest pairs, to judge by eye."""
        return closest_pairs_panel(self.images, self.photos, self.pictures)


def report_memorisation(
    images: Tensor, photos: PhotoBank, extractor: Extractor, holdout: PhotoBank | None = None
) -> MemorisationReport:
    """Judge generated images, uint8 `(n, 3, S, S)`, against the photos trained on.

    Args:
        holdout: photos never trained on: what chance gives is measured on them if there are any.

    Raises:
        EvaluationError: fewer than 3 different photos, or the extractor fails.
    """
    held_out = None if holdout is None else holdout.images
    everything = photos.images if held_out is None else torch.cat([photos.images, held_out])
    groups = find_duplicates(everything, [""] * len(everything))
    by_pictures = calibrate_photos(photos.images, holdout=held_out, groups=groups)
    # Duplicates count once here, too, and a held-out copy of a training photo is not new.
    own, new = picture_labels(len(everything), groups).tensor_split([len(photos.images)])
    by_features = calibrate(
        real_features(photos, extractor),
        labels=own,
        holdout=None if holdout is None else real_features(holdout, extractor),
        holdout_labels=None if holdout is None else new,
    )
    return MemorisationReport(
        images=images,
        photos=photos.images,
        pictures=memorisation(picture_vectors(images), by_pictures),
        features=memorisation(extract(extractor, images), by_features),
    )
