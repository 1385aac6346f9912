"""Distances between folders of images, at their own size."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dcgan.errors import DataError
from dcgan.evaluation import folders
from dcgan.evaluation.extractors.base import Extractor, extract, extract_with_classes
from dcgan.evaluation.extractors.registry import load_extractor
from dcgan.evaluation.folders import compare_folders, folder_features
from dcgan.evaluation.metrics.frechet import frechet_distance
from dcgan.evaluation.metrics.kernel import kernel_distance
from dcgan.evaluation.metrics.recognised import recognised


def write_images(folder: Path, count: int, seed: int, size: tuple[int, int] = (24, 16)) -> Path:
    rng = np.random.default_rng(seed)
    (folder / "nested").mkdir(parents=True)
    for number in range(count):
        pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        where = folder / "nested" if number % 2 else folder
        Image.fromarray(pixels).save(where / f"{number}.png")
    return folder


def pixels_of(folder: Path) -> torch.Tensor:
    """All images of a folder, read in the plainest way."""
    arrays = [np.asarray(Image.open(path).convert("RGB")) for path in folder.rglob("*.png")]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    return load_extractor("random", "cpu")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("folders")
    return write_images(root / "a", 40, 0), write_images(root / "b", 30, 1)


def test_agrees_with_the_library(pair: tuple[Path, Path], extractor: Extractor) -> None:
    real, fake = (folder_features(folder, extractor) for folder in pair)
    record = compare_folders(real, fake, extractor)
    plain = [extract(extractor, pixels_of(folder)) for folder in pair]
    assert record["fd_random"] == pytest.approx(frechet_distance(*plain), rel=1e-6)
    assert record["kd_random"] == pytest.approx(kernel_distance(*plain).value, rel=1e-5)
    assert record["fd_random_low"] <= record["fd_random"] <= record["fd_random_high"]
    assert (record["n_real"], record["n_fake"], record["n_kept"]) == (40, 30, 30)
    assert (record["width"], record["height"]) == (24, 16)


def test_a_classifier_says_what_is_recognised(pair: tuple[Path, Path]) -> None:
    imagenet = load_extractor("imagenet", "cpu")
    real, fake = (folder_features(folder, imagenet) for folder in pair)
    record = compare_folders(real, fake, imagenet)
    photos, images = (extract_with_classes(imagenet, pixels_of(folder))[1] for folder in pair)
    assert sorted(real.classes.tolist()) == sorted(photos.tolist())
    expected = recognised(photos, images)  # all noise looks alike to the network
    assert record["recognised"] == expected.share
    assert record["recognised_of_photos"] == expected.of_photos > 0.2


def test_large_folders_use_moments(
    pair: tuple[Path, Path], extractor: Extractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = frechet_distance(*(extract(extractor, pixels_of(folder)) for folder in pair))
    monkeypatch.setattr(folders, "KEPT", 20)
    monkeypatch.setattr(folders, "BATCH", 7)
    real, fake = (folder_features(folder, extractor) for folder in pair)
    assert (len(real.features), real.moments.count) == (20, 40)
    record = compare_folders(real, fake, extractor)
    assert record["fd_random"] == pytest.approx(exact, rel=1e-6)
    assert (record["n_real"], record["n_fake"], record["n_kept"]) == (40, 30, 20)
    assert "fd_random_low" not in record
    assert 0.0 <= record["precision"] <= 1.0


def test_the_same_folder_is_at_distance_zero(pair: tuple[Path, Path], extractor: Extractor) -> None:
    features = folder_features(pair[0], extractor)
    record = compare_folders(features, features, extractor)
    assert record["fd_random"] == pytest.approx(0.0, abs=1e-9)
    assert record["precision"] == record["recall"] == record["coverage"] == 1.0


def test_mixed_sizes(tmp_path: Path, extractor: Extractor) -> None:
    folder = write_images(tmp_path / "mixed", 6, 0)
    Image.new("RGB", (20, 20)).save(folder / "other.png")
    with pytest.raises(DataError, match=r"differ in size .*24×16.*--size S") as refused:
        folder_features(folder, extractor)
    # Even while the error is kept: threads that the garbage collector ends can deadlock.
    assert refused.tb
    assert not [one for one in threading.enumerate() if one.name.startswith("photos")]
    squares = folder_features(folder, extractor, image_size=16)
    assert (squares.size, squares.moments.count) == ((16, 16), 7)


def test_folders_of_two_sizes(tmp_path: Path, extractor: Extractor) -> None:
    one = folder_features(write_images(tmp_path / "one", 4, 0), extractor)
    two = folder_features(write_images(tmp_path / "two", 4, 0, (16, 16)), extractor)
    with pytest.raises(DataError, match="24×16 and 16×16 pixels"):
        compare_folders(one, two, extractor)


def test_unusable_images_are_skipped_and_listed(tmp_path: Path, extractor: Extractor) -> None:
    folder = write_images(tmp_path / "some", 5, 0)
    (folder / "broken.png").write_bytes(b"no image")
    features = folder_features(folder, extractor)
    assert features.moments.count == 5
    assert [bad.path for bad in features.bad] == ["broken.png"]


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images(tmp_path: Path, extractor: Extractor, count: int) -> None:
    folder = write_images(tmp_path / "few", count, 0)
    with pytest.raises(DataError, match=f"holds {count} usable images .* needs at least 2"):
        folder_features(folder, extractor)
