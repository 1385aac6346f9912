"""Distances between two folders of images, at their own size and in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dcgan.data.decode import OWN_PICTURE, Pixels
from dcgan.data.formats import unread_suffixes
from dcgan.data.scan import BadFile, scan_photos
from dcgan.data.threads import read_photos
from dcgan.errors import DataError
from dcgan.evaluation.extractors.base import Extractor, extract_with_classes
from dcgan.evaluation.metrics.frechet import StreamingMoments, distance_between
from dcgan.evaluation.metrics.registry import RealSet
from dcgan.evaluation.set_score import score_set

BATCH = 64
BATCH_PIXELS = 64 * 512 * 512
"""A batch of large images holds fewer of them, so that memory stays bounded."""
KEPT = 10_000
"""Largest number of images whose features are kept. For larger folders the Fréchet distance uses
the moments of all images, and the other numbers use a random set of this size."""
SQUARES = "pass --size S to resize all images to squares of S pixels, as training does"


@dataclass(frozen=True)
class FolderFeatures:
    """An extractor's features of a folder's images."""

    folder: Path
    features: Tensor
    """float64 (min(N, KEPT), d): a random set of rows if N is larger."""
    classes: Tensor | None
    """int64, of the same images; None if the extractor is no classifier."""
    moments: StreamingMoments
    """Of all N images."""
    size: tuple[int, int]
    """(width, height) in pixels of every image."""
    bad: tuple[BadFile, ...]
    unread: Mapping[str, int]
    """Number of files that no format here is for, by suffix."""
    own: int
    """Number of pictures that this program made, which are left out."""
    damaged: tuple[BadFile, ...]
    """Images that are used although something beside their pixels is damaged."""


def folder_features(
    folder: Path,
    extractor: Extractor,
    image_size: int | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> FolderFeatures:
    """Read all images below a folder, a batch at a time, and keep only their features.

    `image_size` is the side in pixels of the squares to make of them, as training does. None keeps
    their own size, which must be the same for all. `on_progress` is called with (images done,
    images in all). Raises `DataError` if there is no folder, fewer than 2 images are usable
    or their sizes differ, and `EvaluationError` if the extractor fails.
    """
    scan = scan_photos(folder, None)
    # In a random order, so that the first ones are a random sample of the folder.
    order = torch.randperm(len(scan.files), generator=torch.Generator().manual_seed(0)).tolist()
    paths = [scan.files[i].path for i in order]
    bad, batch, kept = list(scan.bad), list[Pixels](), list[Tensor]()
    moments, named = StreamingMoments(extractor.dimension), list[Tensor]()

    def finish_batch() -> None:
        features, classes = extract_with_classes(extractor, torch.from_numpy(np.stack(batch)))
        moments.add(features)
        room = max(0, KEPT - sum(map(len, kept)))
        kept.append(features[:room])
        if classes is not None:
            named.append(classes[:room])
        batch.clear()

    own, damaged = scan.own, list[BadFile]()
    first: tuple[str, tuple[int, int]] | None = None
    with read_photos([folder / path for path in paths], image_size) as results:
        for done, (path, (facts, pixels)) in enumerate(zip(paths, results, strict=True), 1):
            on_progress(done, len(paths))
            if facts.reason == OWN_PICTURE:
                own += 1
                continue
            if facts.damage:
                damaged.append(BadFile(path, facts.damage))
            if pixels is None:
                bad.append(BadFile(path, facts.reason or "too small for --size"))
                continue
            size = (pixels.shape[2], pixels.shape[1])
            first = first or (path, size)
            if size != first[1]:
                shown = " but ".join(f"{name} is {w}×{h}" for name, (w, h) in (first, (path, size)))
                raise DataError(
                    f"the images in {folder} differ in size ({shown} pixels), and how they are "
                    f"resized decides the distance; {SQUARES}"
                )
            batch.append(pixels)
            if len(batch) >= min(BATCH, max(1, BATCH_PIXELS // (size[0] * size[1]))):
                finish_batch()
    if batch:
        finish_batch()
    if first is None or moments.count < 2:
        raise DataError(
            f"{folder} holds {moments.count} usable images ({len(bad)} unusable), and a distance "
            "needs at least 2"
        )
    return FolderFeatures(
        folder=folder,
        features=torch.cat(kept),
        classes=torch.cat(named) if named else None,
        moments=moments,
        size=first[1],
        bad=tuple(bad),
        unread=unread_suffixes(scan.others),
        own=own,
        damaged=tuple(damaged),
    )


def first_side(folder: Path) -> int | None:
    """Width in pixels of the first readable image below a folder, None without one.

    Raises `DataError` if there is no such folder.
    """
    paths = [folder / file.path for file in scan_photos(folder, None).files]
    with read_photos(paths, None) as results:
        return next((pixels.shape[2] for _, pixels in results if pixels is not None), None)


def compare_folders(
    real: FolderFeatures, fake: FolderFeatures, extractor: Extractor
) -> dict[str, Any]:
    """The distances of two folders, with the sampling error of `fake`, as flat plain data.

    Raises `DataError` if the sizes of their images differ, and `EvaluationError` if there are too
    few images for any number.
    """
    if real.size != fake.size:
        sizes = " and ".join(f"{one.size[0]}×{one.size[1]}" for one in (real, fake))
        raise DataError(
            f"the images in {real.folder} and {fake.folder} differ in size ({sizes} pixels); "
            f"{SQUARES}"
        )
    names = extractor.frechet_name, extractor.kernel_name
    record: dict[str, Any] = dict(zip(("frechet_metric", "kernel_metric"), names, strict=True))
    whole = all(len(one.features) == one.moments.count for one in (real, fake))
    of_all = whole and fake.moments.count >= 3
    if not of_all:
        record[names[0]] = distance_between(real.moments.gaussian(), fake.moments.gaussian())
    photos = RealSet(real.features, classes=real.classes, parts=extractor.parts)
    record |= score_set(photos, fake.features, *names, classes=fake.classes, of_all=of_all)
    return record | {
        "n_real": real.moments.count,
        "n_fake": fake.moments.count,
        "n_kept": min(len(real.features), len(fake.features)),
        "width": real.size[0],
        "height": real.size[1],
        "extractor": extractor.name,
        "extractor_fingerprint": extractor.fingerprint,
        "extractor_source": extractor.source,
    }
