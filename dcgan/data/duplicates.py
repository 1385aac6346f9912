"""The same photo more than once: exact copies at training size, and nearly equal ones.

A generator is more likely to repeat such photos (Somepalli et al. 2023, arXiv:2212.03860). All
pairs, mirrored ones too, are first compared at 12 × 12 pixels without slow variations, because
plain backgrounds make all photos alike. Similar pairs are aligned by shift, zoom and rotation
(Gauss-Newton steps in the inverse form of Baker & Matthews 2004, "Lucas-Kanade 20 years on") and
compared again at 32 × 32 pixels. docs/metrics.md says what is found and what is not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dcgan.data.pixels import to_unit

COARSE_SIDE, DETAIL_SIDE = 12, 32
ALIGNMENT = ((16, 3), (32, 2))
"""Sides in pixels, and the number of Gauss-Newton steps at each, that align a pair."""
MIN_COARSE, MIN_DETAIL = 0.6, 0.9
"""Least correlations of nearly equal photos, before and after they are aligned."""
MIN_CONTRAST = 1 / 255
"""Photos with a weaker coarse structure are empty but for noise. Only exact copies count there."""
MAX_CANDIDATES = 10_000
"""Pairs compared in detail, the most similar first. Bounds the time for very similar photos."""
BLOCK = 256
PROBE = 0.02
"""Step of the difference quotients: a third of a pixel or less (half an image's side is 1)."""


@dataclass(frozen=True)
class DuplicateGroup:
    """Two or more photos that show the same picture."""

    indices: tuple[int, ...]
    """Their positions, ascending."""
    exact: bool
    """All have the same pixels at training size."""


def find_duplicates(images: Tensor) -> list[DuplicateGroup]:
    """Groups of photos, uint8 (N, 3, S, S), that show the same picture, sorted by their first one.

    Two photos are in one group if a chain of equal or nearly equal pairs connects them. Time grows
    with N², and memory with N (400 MB beyond the images for 20,000). Raises `TypeError` if the
    images are not uint8.
    """
    images = images.cpu()
    first = _first_with_equal_pixels(images)
    distinct = sorted(set(first))
    links = list(enumerate(first))
    links += [(distinct[a], distinct[b]) for a, b in _near_pairs(images[distinct])]
    return [
        DuplicateGroup(tuple(group), exact=len({first[index] for index in group}) == 1)
        for group in _connected(len(images), links)
    ]


def _first_with_equal_pixels(images: Tensor) -> list[int]:
    """For each image, the position of the first that has the same pixels."""
    positions: dict[bytes, int] = {}
    digests = [hashlib.sha256(row.data).digest() for row in images.contiguous().numpy()]
    return [positions.setdefault(digest, index) for index, digest in enumerate(digests)]


def _connected(count: int, links: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The connected components of more than one node, members ascending."""
    components = [[node] for node in range(count)]  # by node; its members share one list
    for a, b in links:
        small, large = sorted((components[a], components[b]), key=len)
        if small is not large:
            large += small
            for node in small:
                components[node] = large
    distinct = {id(component): component for component in components}
    return [sorted(component) for component in distinct.values() if len(component) > 1]


def _near_pairs(images: Tensor) -> list[tuple[int, int]]:
    """Positions of the pairs of different photos that are nearly equal."""
    candidates = _candidates(images)
    near: list[tuple[int, int]] = []
    for start in range(0, len(candidates), BLOCK):
        pairs, sign = candidates[start : start + BLOCK].split((2, 1), dim=1)
        one, other = (to_unit(images[column]) for column in pairs.unbind(dim=1))
        other = torch.where(sign.view(-1, 1, 1, 1) < 0, other.flip(-1), other)
        # Both ways, because only one photo may show all of the other.
        likeness = torch.maximum(_likeness(one, other), _likeness(other, one))
        near += [(int(a), int(b)) for a, b in pairs[likeness >= MIN_DETAIL]]
    return near


def _candidates(images: Tensor) -> Tensor:
    """Pairs of coarsely similar photos, int64 (P, 3): both positions, and -1 if mirrored, else 1.

    Vectors are split into a part that is even under mirroring and one that is odd. Then x·y is the
    sum of the parts' products, and x·mirrored(y) their difference.
    """
    even, odd = _coarse_structure(images)
    pairs, likeness = torch.empty((0, 3), dtype=torch.int64), torch.empty(0)
    for start in range(0, len(images), BLOCK):
        rows = slice(start, start + BLOCK)
        products = odd[rows] @ odd[start:].T
        block = (even[rows] @ even[start:].T).add_(products.abs()).triu_(diagonal=1)
        row, column = (block >= MIN_COARSE).nonzero(as_tuple=True)
        sign = products[row, column].sign().long()
        found = torch.stack([row + start, column + start, sign], dim=1)
        pairs, likeness = torch.cat([pairs, found]), torch.cat([likeness, block[row, column]])
        order = likeness.argsort(descending=True, stable=True)[:MAX_CANDIDATES]
        pairs, likeness = pairs[order], likeness[order]
    return pairs


def _coarse_structure(images: Tensor) -> tuple[Tensor, Tensor]:
    """Even and odd part, float32 (N, 216) each, together of length 1, or 0 for empty photos."""
    whole = torch.empty((len(images), 3, COARSE_SIDE, COARSE_SIDE))
    for start in range(0, len(images), BLOCK):
        block = to_unit(images[start : start + BLOCK])
        structure = _structure(F.adaptive_avg_pool2d(block, COARSE_SIDE))
        contrast = structure.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        kept = contrast >= MIN_CONTRAST
        whole[start : start + BLOCK] = torch.where(kept, _unit_length(structure), 0)
    left, right = whole.chunk(2, dim=3)  # (N, 3, 12, 6) each
    even, odd = left + right.flip(3), left - right.flip(3)
    return even.flatten(1) / 2**0.5, odd.flatten(1) / 2**0.5


def _structure(images: Tensor) -> Tensor:
    """Images (N, C, s, s) without the variations over a quarter of a side or more."""
    side = images.shape[-1]
    slow = F.adaptive_avg_pool2d(images, side // 4)
    return images - F.interpolate(slow, size=(side, side), mode="bilinear")


def _unit_length(images: Tensor) -> Tensor:
    return images / images.square().sum(dim=(1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)


def _likeness(fixed: Tensor, moved: Tensor) -> Tensor:
    """Correlation of structure once `moved` is aligned; pairs (P, 3, S, S) each in [0, 1]."""
    shift, turn = _placement(fixed.mean(1, keepdim=True), moved.mean(1, keepdim=True))
    target, source = (F.adaptive_avg_pool2d(images, DETAIL_SIDE) for images in (fixed, moved))
    return (_detail(target) * _detail(_move(source, shift, turn))).sum(dim=1)


def _placement(fixed: Tensor, moved: Tensor) -> tuple[Tensor, Tensor]:
    """Where `moved` shows what `fixed` shows (grey, (P, 1, S, S)): shift and turn as in `_move`."""
    shift = torch.zeros(len(fixed), dtype=torch.complex64)
    log_turn = torch.zeros_like(shift)
    directions = [(PROBE, 0), (PROBE * 1j, 0), (0, PROBE), (0, PROBE * 1j)]
    probes = [(torch.full_like(shift, s), torch.full_like(shift, t)) for s, t in directions]
    for side, steps in ALIGNMENT:
        target, source = (F.adaptive_avg_pool2d(images, side) for images in (fixed, moved))
        ahead = [_detail(_move(target, s, t.exp())) for s, t in probes]
        behind = [_detail(_move(target, -s, (-t).exp())) for s, t in probes]
        slopes = (torch.stack(ahead, dim=1) - torch.stack(behind, dim=1)) / (2 * PROBE)
        normal = slopes @ slopes.mT + 1e-3 * torch.eye(4)  # solvable for empty pictures too
        for _ in range(steps):
            error = _detail(_move(source, shift, log_turn.exp())) - _detail(target)
            step = torch.linalg.solve(normal, slopes @ error.unsqueeze(2)).squeeze(2)
            step = step.clamp(-0.1, 0.1)  # a longer one may leave the optimum's neighbourhood
            shift = shift - torch.complex(step[:, 0], step[:, 1]) * log_turn.exp()
            log_turn = log_turn - torch.complex(step[:, 2], step[:, 3])
    return shift, log_turn.exp()


def _detail(images: Tensor) -> Tensor:
    return _unit_length(_structure(images)).flatten(1)


def _move(images: Tensor, shift: Tensor, turn: Tensor) -> Tensor:
    """Show at the point z of each image what was at turn·z + shift, both complex (P,).

    z = x + iy is 0 at the centre and 1 half a side from it. Borders are continued.
    """
    rows = (turn.real, -turn.imag, shift.real), (turn.imag, turn.real, shift.imag)
    matrices = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)  # (P, 2, 3)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
