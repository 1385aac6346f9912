"""The training photo that each shown sample resembles most, so that copies can be seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dcgan.config.train_config import DataConfig
from dcgan.data.bank import load_bank
from dcgan.errors import DcganError
from dcgan.evaluation.memorisation import picture_vectors
from dcgan.evaluation.metrics.neighbours import nearest_neighbours
from dcgan.runtime.html import data_uri
from study.report.pictures import SAMPLES


class Closest(NamedTuple):
    """Photos beside samples."""

    by_trial: dict[int, list[int]]
    """Trial number → the photo that each sample resembles most."""
    photos: dict[int, str]
    """Photo → data URI, of all photos named in `by_trial`."""
    missing: str
    """Why there are none, as a sentence; empty if there are."""


def closest_photos(
    lines: Mapping[int, Image.Image], data: DataConfig, fingerprint: str | None
) -> Closest:
    """Compare trials' last samples with the photos, which must be on this machine.

    Pictures and mirror images are compared by their coarse colours, as `memorised` does (see
    `memorisation.picture_vectors`), so a resemblance is one of layout and colour.

    Args:
        lines: trial number → its samples in a row (`pictures.Strip.line`).
        data: where the study's photos are.
        fingerprint: of these photos (`PhotoBank.fingerprint`); None if it is not known.
    """
    if not lines:
        return Closest({}, {}, "")
    try:
        photos = load_bank(data)
    except DcganError:
        # The page may be sent away, so it names no place on this machine.
        return Closest({}, {}, "The closest photos cannot be shown: they are not on this machine.")
    if fingerprint not in (None, photos.fingerprint):
        return Closest({}, {}, "The closest photos cannot be shown: the photos have changed since.")
    bank = photos.split(data.holdout_fraction)[0].images
    samples = torch.cat([_samples(line, bank.shape[-1]) for line in lines.values()])
    references = torch.cat([picture_vectors(bank), picture_vectors(bank.flip(-1))])
    _, nearest = nearest_neighbours(picture_vectors(samples), references, 1)
    found = (nearest.flatten() % len(bank)).view(-1, SAMPLES).tolist()
    shown = {
        photo: data_uri(Image.fromarray(bank[photo].permute(1, 2, 0).numpy()))
        for photo in sorted({photo for row in found for photo in row})
    }
    return Closest(dict(zip(lines, found, strict=True)), shown, "")


def _samples(line: Image.Image, side: int) -> Tensor:
    """The samples of a row (see `grid_row`) without frames, uint8 (8, 3, side, side)."""
    pitch, own = line.width // SAMPLES, line.height
    frame = (pitch - own) // 2
    boxes = [(left, 0, left + own, own) for left in range(frame, SAMPLES * pitch, pitch)]
    cut = [line.crop(box).convert("RGB").resize((side, side)) for box in boxes]
    return torch.stack([torch.from_numpy(np.array(it)).permute(2, 0, 1) for it in cut])
