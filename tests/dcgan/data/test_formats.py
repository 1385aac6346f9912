"""What is read, what is not, and what is said about the rest."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from dcgan.config.train_config import DataConfig
from dcgan.data.bank import load_bank
from dcgan.data.formats import SUFFIXES, describe_unread, remedy_for, unread_suffixes


def photo(seed: int) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((64, 48))


def test_heic_and_avif_are_read_where_their_plug_ins_are(tmp_path: Path) -> None:
    for seed, name in enumerate(("a.heic", "b.HEIF", "c.avif", "d.png")):
        if name == "c.avif":
            photo(seed).save(tmp_path / name, quality=95)
        elif name == "d.png":
            photo(seed).save(tmp_path / name)
        else:
            pillow_heif.from_pillow(photo(seed)).save(tmp_path / name, quality=95)
    bank = load_bank(DataConfig(root=tmp_path, image_size=32))
    assert bank.bad == ()
    assert len(bank.images) == 4
    for image, name, size in zip(bank.images, bank.names, bank.sizes, strict=True):
        seed = ord(name[0]) - ord("a")
        assert size == (64, 48)
        left = photo(seed).resize((42, 32), Image.Resampling.BILINEAR).crop((5, 0, 37, 32))
        expected = np.asarray(left).transpose(2, 0, 1).astype(float)
        assert np.abs(image.numpy() - expected).mean() < 12  # lossy, but this photo


def test_the_remedy_fits_the_files() -> None:
    assert {".jpg", ".heic", ".avif"} <= SUFFIXES
    assert remedy_for([".txt", ""]) == ""
    assert remedy_for([".cr2", ".txt"]) == "; convert images to JPEG or PNG"
    counts = Counter({".txt": 3, ".cr2": 200, "": 1, ".json": 2, ".md": 1, ".zip": 4})
    assert describe_unread(counts) == (
        "files that were not read: 200 .cr2, 4 .zip, 3 .txt, 2 .json, 2 of other kinds; convert "
        "images to JPEG or PNG"
    )
    assert describe_unread({}) == ""


def test_what_systems_leave_in_folders_is_not_counted() -> None:
    found = unread_suffixes(["a/Thumbs.db", "desktop.ini", "b.TXT", "c.txt", "LICENSE"])
    assert found == {".txt": 2, "": 1}


@pytest.mark.parametrize("command", ["train", "inspect"])
def test_every_command_says_what_was_not_read(
    command: str, tiny_config, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from dcgan.cli.console import load_bank_with_progress
    from dcgan.cli.describe import describe_photos

    for seed in range(3):
        photo(seed).save(tmp_path / f"{seed}.jpg")
    for number in range(5):
        (tmp_path / f"{number}.CR2").write_bytes(b"raw")
    bank = load_bank_with_progress(
        DataConfig(root=tmp_path, image_size=32), list_bad_files=command == "train"
    )
    said = describe_photos(bank) if command == "inspect" else capfd.readouterr().err
    assert said.count("files that were not read: 5 .cr2; convert images to JPEG or PNG") == 1
