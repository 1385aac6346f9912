"""Memorisation: which generated images repeat a training photo, and what fraction of them.

The plain distance to the nearest photo misleads, because a blurred image is near all photos and a
detailed image far from all. The measure is a ratio (after Carlini et al. 2023, "Extracting Training
Data from Diffusion Models", arXiv:2301.13188): the distance to the nearest photo over the mean
distance to the next ones. It is 0 for a copy and nearly 1 for a new image. Real photos calibrate
it: held-out photos, or each training photo against the others.

    calibration = calibrate_photos(photos)
    result = memorisation(picture_vectors(generated), calibration)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dcgan.data.duplicates import DuplicateGroup, find_duplicates
from dcgan.data.pixels import to_unit
from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics.matrix import ArrayLike, feature_matrix
from dcgan.evaluation.metrics.neighbours import nearest_neighbours

NEXT_NEIGHBOURS = 20
"""How many photos after the nearest one its distance is compared with; 10 or 50 do as well."""
QUANTILE, MARGIN = 0.05, 0.8
"""An image is a repetition if its ratio is at most MARGIN times this quantile of new photos.

The quantile is more certain than the smallest ratio, and a few unrecognised duplicates hardly move
it. The margin makes hits by chance rare (docs/evidence.md)."""
CALIBRATION_IMAGES = 2000
"""More photos than this are calibrated by a part of them, evenly spaced."""
PERCENTILES = (0, 1, 5, 25, 50, 75, 95)
SIDE = 8
BATCH = 1024


@dataclass(frozen=True, eq=False)
class Calibration:
    """Training photos as vectors, and how near to them new photos come. Compute once, keep."""

    vectors: Tensor
    """float64 (m, d)"""
    labels: Tensor
    """int64 (m,): rows with the same label show the same picture."""
    photos: Tensor
    """int64 (m,): the photo that a row belongs to."""
    ratios: Tensor
    """float64 (c,), those of new photos."""
    k: int

    @property
    def threshold(self) -> float:
        """Generated images at or below this ratio count as repetitions."""
        return MARGIN * float(self.ratios.quantile(QUANTILE))

    @property
    def fraction(self) -> float:
        """The part of the new photos that would count as repetitions themselves, by chance."""
        return float((self.ratios <= self.threshold).double().mean())

    @property
    def percentiles(self) -> dict[int, float]:
        """`PERCENTILES` of the new photos' ratios."""
        return {each: float(self.ratios.quantile(each / 100)) for each in PERCENTILES}


@dataclass(frozen=True, eq=False)
class Memorisation:
    """Generated images, judged one by one."""

    ratios: Tensor
    """float64 (n,), >= 0: distance to the nearest photo over the mean distance to the next ones."""
    nearest: Tensor
    """int64 (n,): the nearest photo."""
    distances: Tensor
    """float64 (n,): to the nearest photo, in the vectors' units."""
    threshold: float
    calibration_fraction: float
    """The part of new real photos that would count as repetitions: what chance gives."""
    calibration_percentiles: dict[int, float]

    @property
    def memorised(self) -> Tensor:
        """bool (n,): the images that count as repetitions of their nearest photo."""
        return self.ratios <= self.threshold

    @property
    def fraction(self) -> float:
        """The part of the images that count as repetitions."""
        return float(self.memorised.double().mean())


def picture_vectors(images: Tensor) -> Tensor:
    """Images as vectors that augmentation hardly moves.

    A vector holds 8 × 8 pixels in colour, minus their common mean, scaled to length 1. Blur, noise,
    fine detail, brightness and contrast cancel out; a shift, zoom or rotation by a few percent
    hardly matters. Images that vary by less than one grey level stay shorter than 1, so that they
    are not pure noise. docs/evidence.md compares this space with others and lists what it misses.

    Args:
        images: uint8 (N, 3, S, S), S a multiple of 8, N >= 1.

    Returns:
        float64 (N, 192) on the CPU.
    """
    pooled = [F.adaptive_avg_pool2d(to_unit(part), SIDE).flatten(1) for part in images.split(BATCH)]
    vectors = torch.cat(pooled).cpu().double()
    vectors = vectors - vectors.mean(dim=1, keepdim=True)
    grey_level = (vectors.shape[1] ** 0.5) / 255
    return vectors / vectors.square().sum(dim=1, keepdim=True).sqrt().clamp_min(grey_level)


def picture_labels(count: int, groups: Sequence[DuplicateGroup]) -> Tensor:
    """A number for each of `count` photos, int64 (count,), equal for duplicates."""
    labels = torch.arange(count)
    for group in groups:
        labels[list(group.indices)] = group.indices[0]
    return labels


def calibrate_photos(
    photos: Tensor,
    *,
    holdout: Tensor | None = None,
    groups: Sequence[DuplicateGroup] | None = None,
) -> Calibration:
    """What `memorisation` needs to know of the training photos, in the space of `picture_vectors`.

    Mirrored photos count as the photos themselves: with mirroring on, a generator sees both.

    Args:
        photos: uint8 (N, 3, S, S), those trained on.
        holdout: uint8 (H, 3, S, S), photos never trained on.
        groups: duplicates among the photos followed by those held out; found here if left out.

    Raises:
        EvaluationError: see `calibrate`.
    """
    everything = photos if holdout is None else torch.cat([photos, holdout])
    if groups is None:
        groups = find_duplicates(everything)
    labels = picture_labels(len(everything), groups)
    own, new = labels[: len(photos)], labels[len(photos) :]
    vectors = picture_vectors(photos)
    return calibrate(
        torch.cat([vectors, picture_vectors(photos.flip(-1))]),
        labels=torch.cat([own, own]),
        photos=torch.arange(len(photos)).repeat(2),
        holdout=vectors if holdout is None else picture_vectors(holdout),
        holdout_labels=own if holdout is None else new,
    )


def calibrate(
    training: ArrayLike,
    *,
    labels: Tensor | None = None,
    photos: Tensor | None = None,
    holdout: ArrayLike | None = None,
    holdout_labels: Tensor | None = None,
    k: int = NEXT_NEIGHBOURS,
) -> Calibration:
    """How near new photos come to the training photos: held-out ones, or each training photo.

    Duplicates count once: a photo is not compared with rows of its own label, and of several new
    photos with the same label only the first is asked.

    Args:
        training: (m, d), numpy or torch, one row a training photo or an altered version of one.
        labels: int64 (m,), equal for rows that show the same picture; all different if left out.
        photos: int64 (m,), the photo that a row belongs to; the row's number if left out.
        holdout: (h, d), photos never trained on; the training photos if left out.
        holdout_labels: int64 (h,), numbered like `labels`, if there may be copies of training
            photos among them.
        k: how many pictures after the nearest to compare with; all others where photos are few.

    Raises:
        EvaluationError: fewer than 3 different training photos, different d, NaN or infinite
            values, or k below 1.
        ValueError: labels or photos that are not one for each row.
    """
    if k < 1:
        raise EvaluationError(f"k must be at least 1 but got {k}")
    vectors = feature_matrix(training, "training")
    rows = torch.arange(len(vectors))
    labels = _per_row(labels, rows)
    pictures = len(labels.unique())
    if pictures < 3:
        raise EvaluationError(
            "repetitions can be told from chance only with at least 3 different photos but there "
            f"are {pictures}; add photos"
        )
    if holdout is None:
        new, new_labels = vectors, labels
    else:
        new = feature_matrix(holdout, "held-out")
        strangers = int(labels.max()) + 1 + torch.arange(len(new))
        new_labels = _per_row(holdout_labels, strangers)
    distinct = _first_of_each(new_labels[None])[0].nonzero().flatten()
    count = min(len(distinct), CALIBRATION_IMAGES)
    some = distinct[torch.linspace(0, len(distinct) - 1, count).round().long()]
    ratios, _, _ = _ratios(new[some], vectors, labels, k, new_labels[some])
    return Calibration(vectors, labels, _per_row(photos, rows), ratios, k)


def memorisation(generated: ArrayLike, calibration: Calibration) -> Memorisation:
    """Judge generated images by their vectors.

    Args:
        generated: (n, d), in the space of the calibration's vectors; n >= 1.
        calibration: of the photos the generator was trained on.

    Raises:
        EvaluationError: different d, NaN or infinite values.
    """
    ratios, nearest, distances = _ratios(
        generated, calibration.vectors, calibration.labels, calibration.k
    )
    return Memorisation(
        ratios=ratios,
        nearest=calibration.photos[nearest],
        distances=distances,
        threshold=calibration.threshold,
        calibration_fraction=calibration.fraction,
        calibration_percentiles=calibration.percentiles,
    )


def _per_row(numbers: Tensor | None, default: Tensor) -> Tensor:
    if numbers is None:
        return default
    if numbers.shape != default.shape:
        raise ValueError(
            f"expected one number for each of {len(default)} rows but got {tuple(numbers.shape)}"
        )
    return numbers.cpu()


def _ratios(
    queries: ArrayLike, references: Tensor, labels: Tensor, k: int, own: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Ratio, nearest row and its distance for each query, (n,) each.

    Args:
        queries: (n, d)
        references: (m, d)
        labels: (m,) of the references; of rows with the same label the nearest stands for all.
        k: the nearest one is compared with the next k other labels.
        own: (n,) labels of the queries; references of the same label are passed over.
    """
    # As many neighbours as hold k + 1 other pictures, even if these are those with most copies.
    copies = labels.unique(return_counts=True)[1].sort(descending=True).values
    depth = int(copies[: k + 1 + (own is not None)].sum())
    distances, indices = nearest_neighbours(queries, references, depth)
    found = labels[indices]  # (n, depth)
    usable = _first_of_each(found)
    if own is not None:
        usable &= found != own[:, None]
    rank = usable.cumsum(dim=1) * usable  # 1 for the nearest picture, 2 for the next, ...; else 0
    column = (rank == 1).int().argmax(dim=1, keepdim=True)
    nearest = distances.gather(1, column).squeeze(1)
    following = (rank >= 2) & (rank <= k + 1)
    mean_of_next = (distances * following).sum(dim=1) / following.sum(dim=1)
    # Where all photos are equally near, at distance 0, the nearest is no nearer than the others.
    ratios = torch.where(mean_of_next > 0, nearest / mean_of_next.clamp_min(1e-300), 1.0)
    return ratios, indices.gather(1, column).squeeze(1), nearest


def _first_of_each(labels: Tensor) -> Tensor:
    """Marks the first occurrence of each label in its row, bool like `labels` (n, depth)."""
    grouped, order = labels.sort(dim=1, stable=True)
    starts = torch.ones_like(grouped, dtype=torch.bool)
    starts[:, 1:] = grouped[:, 1:] != grouped[:, :-1]
    return torch.zeros_like(starts).scatter_(1, order, starts)
