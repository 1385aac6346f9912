"""Beside a sample, the report shows the training photo that it resembles most."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dcgan.config.train_config import DataConfig
from dcgan.data.bank import load_bank
from dcgan.evaluation.memorisation import picture_vectors
from dcgan.evaluation.metrics.neighbours import nearest_neighbours
from dcgan.runtime.pictures import grid_row, image_grid
from study.report.closest import closest_photos

TOYS = DataConfig(source="toy_cats", toy_count=40, image_size=32, holdout_fraction=0.25)


def line_of(images: torch.Tensor, scale: int) -> Image.Image:
    """A row of samples as a grid of 8 × 8 has it."""
    grid = image_grid(images.repeat(8, 1, 1, 1), columns=8, scale=scale)
    row = grid_row(grid, 8, images.shape[-1])
    assert row is not None
    return row


def test_a_copy_finds_its_photo_mirrored_or_not_and_whatever_the_size() -> None:
    bank = load_bank(TOYS)
    photos = bank.split(TOYS.holdout_fraction)[0].images
    chosen, other = [3, 0, 7, 7, 21, 11, 29, 16], [5, 6, 8, 9, 10, 12, 13, 14]
    lines = {
        4: line_of(photos[chosen], 1),
        2: line_of(photos[other].flip(-1), 4),
    }
    found = closest_photos(lines, TOYS, bank.fingerprint)
    assert found.by_trial == {4: chosen, 2: other}
    assert not found.missing
    assert set(found.photos) == {*chosen, *other}
    data = found.photos[21].removeprefix("data:image/webp;base64,")
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
    expected = photos[21].permute(1, 2, 0).numpy()
    assert np.abs(shown.astype(int) - expected).mean() < 8


@pytest.mark.parametrize("size", [32, 64])
def test_frames_do_not_change_which_photo_is_closest(size: int) -> None:
    """Of samples that copy no photo: mixtures of two."""
    toys = DataConfig(source="toy_cats", toy_count=160, image_size=size)
    photos = load_bank(toys).images
    mixed = (0.6 * photos.float() + 0.4 * photos.flip(0).float()).round().to(torch.uint8)
    rows = {start: mixed[start : start + 8] for start in range(0, 160, 8)}
    found = closest_photos({key: line_of(row, 2) for key, row in rows.items()}, toys, None)
    both = torch.cat([picture_vectors(photos), picture_vectors(photos.flip(-1))])
    _, nearest = nearest_neighbours(picture_vectors(mixed), both, 1)
    expected = (nearest.flatten() % 160).tolist()
    shown = [photo for start in rows for photo in found.by_trial[start]]
    assert sum(a != b for a, b in zip(shown, expected, strict=True)) <= 2


def test_other_photos_than_the_studys_are_not_shown() -> None:
    line = line_of(load_bank(TOYS).images[:8], 1)
    found = closest_photos({0: line}, TOYS, "fingerprint of what was there")
    assert (found.by_trial, found.photos) == ({}, {})
    assert found.missing.endswith("the photos have changed since.")


def test_photos_that_are_gone_are_said_to_be(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    line = line_of(torch.zeros(8, 3, 32, 32, dtype=torch.uint8), 1)
    found = closest_photos({0: line}, DataConfig(root=gone), None)
    assert (found.by_trial, found.photos) == ({}, {})
    assert found.missing.endswith("they are not on this machine.")
    assert str(gone) not in found.missing  # the page may be sent to others


def test_without_pictures_no_photo_is_read(tmp_path: Path) -> None:
    assert closest_photos({}, DataConfig(root=tmp_path / "gone"), None).missing == ""
