"""Does this generator repeat its training photos? Judged by pictures and by features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from dcgan.data.bank import PhotoBank
from dcgan.evaluation.evaluator import seen_in
from dcgan.evaluation.extractors.base import Extractor, extract
from dcgan.evaluation.memorisation import (
    Memorisation,
    calibrate,
    calibrate_photos,
    memorisation,
    picture_labels,
    picture_vectors,
)
from dcgan.runtime.pictures import BACKGROUND, grid_scale, image_grid

PAIRS_PER_ROW, MAX_PAIRS = 8, 16
MARGIN, LINE_HEIGHT = 8, 22
TEXT, PLAIN, REPEATED = (0, 0, 0), (110, 110, 110), (200, 0, 0)


@dataclass(frozen=True, eq=False)
class MemorisationReport:
    """Generated images beside the photos they were trained on."""

    images: Tensor
    """uint8 (n, 3, S, S), generated."""
    photos: Tensor
    """uint8 (N, 3, S, S), trained on."""
    pictures: Memorisation
    """By coarse pixels. This verdict counts."""
    features: Memorisation
    """By the extractor's features: a second opinion."""

    def as_record(self) -> dict[str, Any]:
        """Flat plain data; `…_of_photos` is what chance gives."""
        return {
            "memorised_fraction": self.pictures.fraction,
            "memorised_fraction_of_photos": self.pictures.calibration.fraction,
            "memorised_threshold": self.pictures.calibration.threshold,
            "memorised_smallest_ratio": float(self.pictures.ratios.min()),
            "memorised_fraction_by_features": self.features.fraction,
            "memorised_fraction_by_features_of_photos": self.features.calibration.fraction,
        }

    def panel(self) -> Image.Image:
        """The closest pairs, at most 16: an image above, its nearest photo below, and their ratio.

        The lowest ratios come first, and those of repetitions are red. Photos are not mirrored,
        even if the generated image resembles the mirror image.
        """
        result, scale = self.pictures, grid_scale(self.images.shape[-1])
        closest = result.ratios.argsort(stable=True)[:MAX_PAIRS]
        pairs = torch.stack([self.images[closest], self.photos[result.nearest[closest]]], dim=1)
        tiles = [image_grid(pair, columns=1, scale=scale) for pair in pairs]
        width, height = tiles[0].width + MARGIN, tiles[0].height + LINE_HEIGHT + MARGIN
        rows = -(-len(tiles) // PAIRS_PER_ROW)
        head = 2 * LINE_HEIGHT + MARGIN
        size = PAIRS_PER_ROW * width + MARGIN, head + rows * height
        canvas = Image.new("RGB", size, BACKGROUND)
        draw = ImageDraw.Draw(canvas)
        draw.multiline_text((MARGIN, 5), _title(result), fill=TEXT, font_size=14, spacing=6)
        for position, (i, tile) in enumerate(zip(closest.tolist(), tiles, strict=True)):
            left = MARGIN + position % PAIRS_PER_ROW * width
            top = head + position // PAIRS_PER_ROW * height
            canvas.paste(tile, (left, top))
            colour = REPEATED if result.memorised[i] else PLAIN
            ratio = f"{float(result.ratios[i]):.2f}"
            draw.text((left + 4, top + tile.height + 1), ratio, fill=colour, font_size=14)
        return canvas


def report_memorisation(
    images: Tensor, photos: PhotoBank, extractor: Extractor, holdout: PhotoBank | None = None
) -> MemorisationReport:
    """Judge generated images, uint8 `(n, 3, S, S)`, against the photos trained on.

    The photos of `holdout`, never trained on, calibrate if there are any. Raises `EvaluationError`
    if there are fewer than 3 different photos or the extractor fails.
    """
    held_out = None if holdout is None else holdout.images
    labels = own, new = picture_labels(photos.images, held_out)
    by_pictures = calibrate_photos(photos.images, holdout=held_out, labels=labels)
    by_features = calibrate(
        seen_in(photos, extractor)[0],
        labels=own,
        holdout=None if holdout is None else seen_in(holdout, extractor)[0],
        holdout_labels=new,
    )
    return MemorisationReport(
        images=images,
        photos=photos.images,
        pictures=memorisation(picture_vectors(images), by_pictures),
        features=memorisation(extract(extractor, images), by_features),
    )


def _title(result: Memorisation) -> str:
    low, middle = (float(result.calibration.ratios.quantile(part)) for part in (0.01, 0.5))
    return (
        f"generated above, nearest photo below; {result.fraction:.1%} of {len(result.ratios)} "
        f"repeat a photo (ratio up to {result.calibration.threshold:.2f})\n"
        f"ratio: distance to the nearest photo / to the next ones; between photos {middle:.2f} "
        f"(median), {low:.2f} (lowest 1%)"
    )
