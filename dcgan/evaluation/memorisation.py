"""Memorisation: which generated images repeat a training photo, and what fraction of them.

A blurred image is near all photos and a detailed one far from all, so the measure is a ratio (after
Carlini et al. 2023, "Extracting Training Data from Diffusion Models", arXiv:2301.13188): the
distance to the nearest photo over the mean distance to the next ones. It is 0 for a copy and nearly
1 for a new image. Held-out photos calibrate it, or each training photo against the others.

    calibration = calibrate_photos(photos)
    result = memorisation(picture_vectors(generated), calibration)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dcgan.data.duplicates import find_duplicates
from dcgan.data.pixels import to_unit
from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics.matrix import ArrayLike, feature_matrix
from dcgan.evaluation.metrics.neighbours import nearest_neighbours
from dcgan.evaluation.metrics.recognised import wilson_interval

NEXT_NEIGHBOURS = 20
"""Number of next photos in the ratio, at most all others; 10 and 50 work as well."""
QUANTILE, MARGIN = 0.05, 0.8
"""An image is a repetition if its ratio is at most MARGIN times this quantile of new photos.

A few unrecognised duplicates hardly move the quantile, and the margin makes hits by chance rare
(docs/metric_accuracy.md)."""
CALIBRATION_IMAGES = 2000
"""Largest number of new photos that calibrate. Of more, this many are taken, evenly spaced."""
SIDE = 8
BATCH = 1024


@dataclass(frozen=True, eq=False)
class Calibration:
    """Training photos as vectors, and the ratios of new photos to them. Compute it once."""

    vectors: Tensor
    """float64 (m, d)"""
    labels: Tensor
    """int64 (m,), equal for rows that show the same picture."""
    photos: Tensor
    """int64 (m,): the photo that a row belongs to."""
    ratios: Tensor
    """float64 (c,), of new photos."""

    @property
    def threshold(self) -> float:
        """Generated images at or below this ratio count as repetitions."""
        return MARGIN * float(self.ratios.quantile(QUANTILE))

    @property
    def fraction(self) -> float:
        """The part of the new photos that count as repetitions by chance, in [0, 1]."""
        return float((self.ratios <= self.threshold).double().mean())

    @property
    def floor(self) -> float:
        """The most that chance gives: the upper end of the 95 % interval of `fraction`."""
        return wilson_interval(int((self.ratios <= self.threshold).sum()), len(self.ratios))[1]


@dataclass(frozen=True, eq=False)
class Memorisation:
    """Generated images, judged one by one."""

    ratios: Tensor
    """float64 (n,), >= 0: distance to the nearest photo over the mean distance to the next ones."""
    nearest: Tensor
    """int64 (n,): the nearest photo."""
    distances: Tensor
    """float64 (n,): to the nearest photo, in the vectors' units."""
    calibration: Calibration

    @property
    def memorised(self) -> Tensor:
        """bool (n,): the images that count as repetitions of their nearest photo."""
        return self.ratios <= self.calibration.threshold

    @property
    def fraction(self) -> float:
        """The part of the images that count as repetitions, in [0, 1]."""
        return float(self.memorised.double().mean())

    @property
    def beyond_chance(self) -> bool:
        """Whether more images are repetitions than chance explains.

        The 95 % interval of their fraction lies above the floor, so a generator of new images is
        found to repeat photos in clearly less than one case of twenty.
        """
        return wilson_interval(int(self.memorised.sum()), len(self.ratios))[0] > (
            self.calibration.floor
        )

    def describe(self) -> str:
        """The fraction beside what chance gives, in words."""
        return (
            f"{self.fraction:.1%} of {len(self.ratios)} images repeat a training photo; by chance "
            f"up to {self.calibration.floor:.1%} would seem to"
        )


def picture_vectors(images: Tensor) -> Tensor:
    """Images, uint8 `(N, 3, S, S)`, N >= 1, as vectors, float64 `(N, 192)` on the CPU.

    A vector holds 8 × 8 pixels in colour, minus their common mean, scaled to length 1. Blur, noise,
    fine detail, brightness and contrast cancel out, and a shift, zoom or rotation by a few percent
    hardly matters. Images that vary by less than one grey level stay shorter, so that noise does
    not decide. docs/metric_accuracy.md compares this space with others and lists what it misses.
    """
    pooled = [F.adaptive_avg_pool2d(to_unit(part), SIDE).flatten(1) for part in images.split(BATCH)]
    vectors = torch.cat(pooled).cpu().double()
    vectors = vectors - vectors.mean(dim=1, keepdim=True)
    grey_level = (vectors.shape[1] ** 0.5) / 255
    return vectors / vectors.square().sum(dim=1, keepdim=True).sqrt().clamp_min(grey_level)


def picture_labels(photos: Tensor, holdout: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """A number for each photo, int64 (N,) and (H,), equal for duplicates among all of them."""
    everything = photos if holdout is None else torch.cat([photos, holdout])
    labels = torch.arange(len(everything))
    for group in find_duplicates(everything):
        labels[list(group.indices)] = group.indices[0]
    return labels[: len(photos)], labels[len(photos) :]


def calibrate_photos(
    photos: Tensor,
    *,
    holdout: Tensor | None = None,
    labels: tuple[Tensor, Tensor] | None = None,
) -> Calibration:
    """Calibrate in the space of `picture_vectors`.

    Mirrored photos count as the photos themselves, because mirroring shows both to a generator.

    Args:
        photos: uint8 (N, 3, S, S), those trained on.
        holdout: uint8 (H, 3, S, S), photos never trained on.
        labels: `picture_labels` of both, if known already.

    Raises the errors of `calibrate`.
    """
    own, new = labels or picture_labels(photos, holdout)
    vectors = picture_vectors(photos)
    return calibrate(
        torch.cat([vectors, picture_vectors(photos.flip(-1))]),
        labels=torch.cat([own, own]),
        photos=torch.arange(len(photos)).repeat(2),
        holdout=None if holdout is None else picture_vectors(holdout),
        holdout_labels=new,
    )


def calibrate(
    training: ArrayLike,
    *,
    labels: Tensor | None = None,
    photos: Tensor | None = None,
    holdout: ArrayLike | None = None,
    holdout_labels: Tensor | None = None,
) -> Calibration:
    """Measure the ratios of new photos: held-out ones, or each training photo.

    Duplicates count once: a photo is not compared with rows of its own label, and only the first of
    several new photos with the same label is used.

    Args:
        training: (m, d), one row for each training photo or altered version of one.
        labels: int64 (m,), equal for rows that show the same picture; by default all different.
        photos: int64 (m,), the photo that a row belongs to; by default the row's number.
        holdout: (h, d), photos never trained on; by default the training photos.
        holdout_labels: int64 (h,), numbered like `labels`; by default all of them are new.

    Raises `EvaluationError` for fewer than 3 different training photos, different d, NaN or
    infinite values.
    """
    vectors = feature_matrix(training, "training")
    rows = torch.arange(len(vectors))
    labels = rows if labels is None else labels
    pictures = len(labels.unique())
    if pictures < 3:
        raise EvaluationError(
            "telling repetitions from chance takes at least 3 different photos but there are "
            f"{pictures}; add photos"
        )
    if holdout is None:
        new, new_labels = vectors, labels
    else:
        new = feature_matrix(holdout, "held-out")
        unknown = int(labels.max()) + 1 + torch.arange(len(new))
        new_labels = unknown if holdout_labels is None else holdout_labels
    distinct = _first_of_each(new_labels[None])[0].nonzero().flatten()
    count = min(len(distinct), CALIBRATION_IMAGES)
    some = distinct[torch.linspace(0, len(distinct) - 1, count).round().long()]
    ratios, _, _ = _ratios(new[some], vectors, labels, new_labels[some])
    return Calibration(vectors, labels, rows if photos is None else photos, ratios)


def memorisation(generated: ArrayLike, calibration: Calibration) -> Memorisation:
    """Judge generated images by their vectors `(n, d)`, in the space of the calibration's.

    Raises `EvaluationError` for different d, NaN or infinite values.
    """
    ratios, nearest, distances = _ratios(generated, calibration.vectors, calibration.labels)
    return Memorisation(ratios, calibration.photos[nearest], distances, calibration)


def _ratios(
    queries: ArrayLike, references: Tensor, labels: Tensor, own: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Ratio, nearest row and its distance for each query, (n,) each.

    The nearest row of each label stands for all of them. References with a query's own label do
    not count.
    """
    most = NEXT_NEIGHBOURS + 1
    # So many neighbours hold `most` other pictures, even if these have the most copies.
    copies = labels.unique(return_counts=True)[1].sort(descending=True).values
    depth = int(copies[: most + (own is not None)].sum())
    distances, indices = nearest_neighbours(queries, references, depth)
    found = labels[indices]  # (n, depth)
    usable = _first_of_each(found)
    if own is not None:
        usable &= found != own[:, None]
    rank = usable.cumsum(dim=1) * usable  # 1 for the nearest picture, 2 for the next; else 0
    column = (rank == 1).int().argmax(dim=1, keepdim=True)
    nearest = distances.gather(1, column).squeeze(1)
    following = (rank >= 2) & (rank <= most)
    mean_of_next = (distances * following).sum(dim=1) / following.sum(dim=1)
    # With all photos at distance 0 the nearest is as near as the others.
    ratios = torch.where(mean_of_next > 0, nearest / mean_of_next.clamp_min(1e-300), 1.0)
    return ratios, indices.gather(1, column).squeeze(1), nearest


def _first_of_each(labels: Tensor) -> Tensor:
    """The first occurrence of each label in its row, bool (n, depth) like `labels`."""
    grouped, order = labels.sort(dim=1, stable=True)
    starts = torch.ones_like(grouped, dtype=torch.bool)
    starts[:, 1:] = grouped[:, 1:] != grouped[:, :-1]
    return torch.zeros_like(starts).scatter_(1, order, starts)
