"""Results that lie among the photos are no photos: what this program draws is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from dcgan.config.train_config import DataConfig
from dcgan.data.bank import PhotoBank, fingerprint_of, load_bank
from dcgan.runtime.pictures import image_grid, save_animation, save_figure, save_picture


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for seed in range(4):
        values = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / f"{seed}.png")
    return tmp_path


def load(root: Path) -> PhotoBank:
    return load_bank(DataConfig(root=root, image_size=32))


def test_pictures_carry_who_made_them(photos: Path) -> None:
    before = load(photos)
    grid = image_grid(torch.zeros(4, 3, 32, 32, dtype=torch.uint8))
    save_picture(grid, photos / "grid.png")
    save_picture(grid, photos / "renamed.jpg")
    save_animation([grid, grid.rotate(90)], photos / "walk.gif")
    save_figure(Figure(), photos / "plot.png")
    for _ in range(2):  # cold, and from the index
        after = load(photos)
        assert after.fingerprint == before.fingerprint
        assert (len(after.images), after.own, after.bad) == (4, 4, ())
    assert fingerprint_of(DataConfig(root=photos, image_size=32)) == before.fingerprint


def test_folders_of_runs_and_studies_are_left_out(photos: Path) -> None:
    before = load(photos)
    unmarked = Image.new("RGB", (64, 64))  # as earlier releases drew them
    for name in (
        "run/samples/step_000004.png",
        "mlruns/studies/cats/trials/trial-000/samples/step_000004.png",
        "mlruns/artifacts/cats/abc/artifacts/samples.png",
    ):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        unmarked.save(photos / name)
    for name in ("run/config.yaml", "run/history.jsonl", "mlruns/studies/cats/study.yaml"):
        (photos / name).write_text("")
    after = load(photos)
    assert after.fingerprint == before.fingerprint
    assert (after.own, after.bad) == (3, ())


def test_folders_with_such_names_that_hold_photos_are_read(photos: Path) -> None:
    for name in ("samples", "artifacts", "studies"):
        (photos / name).mkdir()
        (photos / "0.png").rename(photos / name / "0.png")
        assert len(load(photos).images) == 4
        (photos / name / "0.png").rename(photos / "0.png")
