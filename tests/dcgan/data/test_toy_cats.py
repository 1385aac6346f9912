"""The drawn cats: reproducible, varied, and alike in the way that photos of cats' faces are."""

from __future__ import annotations

import numpy as np
import pytest

from dcgan.data.toy_cats import draw_toy_cats, toy_cats_fingerprint


@pytest.fixture(scope="module")
def cats() -> np.ndarray:
    """200 cats, uint8, shape (200, 3, 32, 32)."""
    return draw_toy_cats(200, 32, seed=0)


@pytest.mark.parametrize("size", [32, 64, 128])
def test_shape_and_type_at_every_size(size: int) -> None:
    pictures = draw_toy_cats(3, size, seed=1)
    assert pictures.shape == (3, 3, size, size)
    assert pictures.dtype == np.uint8


def test_no_cats_at_all_and_a_size_nobody_trains_at() -> None:
    assert draw_toy_cats(0, 32, seed=1).shape == (0, 3, 32, 32)
    with pytest.raises(ValueError, match="32, 64 or 128, but got 48"):
        draw_toy_cats(1, 48, seed=1)


def test_the_same_call_draws_the_same_pixels(cats: np.ndarray) -> None:
    np.testing.assert_array_equal(draw_toy_cats(20, 32, seed=0), cats[:20])


@pytest.mark.parametrize("size", [32, 64])
def test_a_smaller_set_is_the_beginning_of_a_larger_one(size: int) -> None:
    larger = draw_toy_cats(7, size, seed=5)
    np.testing.assert_array_equal(draw_toy_cats(4, size, seed=5), larger[:4])


def test_every_seed_draws_other_cats() -> None:
    # 2**32 and 2**63 - 1: seeds of more than one 32-bit word, whose sets must not overlap either.
    sets = [draw_toy_cats(4, 32, seed) for seed in (0, 1, 2**32, 2**63 - 1)]
    pictures = np.concatenate(sets).reshape(16, -1)
    assert len(np.unique(pictures, axis=0)) == 16


def test_the_same_cats_at_every_size() -> None:
    small = draw_toy_cats(12, 32, seed=3).astype(float)
    large = draw_toy_cats(12, 64, seed=3).astype(float)
    shrunk = large.reshape(12, 3, 32, 2, 32, 2).mean(axis=(3, 5))
    error = np.abs(small[:, None] - shrunk[None]).mean(axis=(2, 3, 4))
    assert (error.argmin(axis=1) == np.arange(12)).all()
    assert np.diag(error).max() < 12.0  # of 255; between different cats it is several times that
    assert np.median(error) > 24.0


def test_no_two_alike_and_as_varied_as_photos(cats: np.ndarray) -> None:
    assert len(np.unique(cats.reshape(200, -1), axis=0)) == 200
    colour = cats.mean(axis=(2, 3))
    assert (colour.std(axis=0) > 15.0).all()
    assert (colour.std(axis=0) < 70.0).all()  # not a set of plain light and dark sheets
    assert ((cats == 0) | (cats == 255)).mean() < 0.1  # exposed like photos, hardly ever clipped


def test_the_average_cat_is_symmetric_but_not_upside_down(cats: np.ndarray) -> None:
    average = cats.mean(axis=(0, 1))
    mirrored = np.abs(average - average[:, ::-1]).mean()
    overturned = np.abs(average - average[::-1]).mean()
    assert mirrored < 6.0
    assert overturned > 2.0 * mirrored


def test_faces_are_sharp_before_a_background_out_of_focus(cats: np.ndarray) -> None:
    grey = cats.astype(float).mean(axis=1)
    detail = np.abs(np.diff(grey, axis=2)).mean(axis=0)  # (32, 31), horizontal contrast
    face, left, right = detail[8:22, 8:23], detail[:14, :3], detail[:14, -3:]
    assert face.mean() > 3.0 * max(left.mean(), right.mean())
    assert min(left.mean(), right.mean()) > 0.2  # there is a background: light falls off on it
    rows = detail[:, 8:23].mean(axis=1)
    assert 11 <= rows[6:22].argmax() + 6 <= 16  # the eyes: the sharpest rows of the face


def test_progress_counts_up_to_the_number_of_pictures() -> None:
    seen: list[int] = []
    draw_toy_cats(5, 32, seed=0, on_progress=seen.append)
    assert seen == [1, 2, 3, 4, 5]


def test_fingerprint_tells_sets_apart() -> None:
    first = toy_cats_fingerprint(512, 64, 0)
    assert first == toy_cats_fingerprint(512, 64, 0)
    assert len(first) == 64
    assert int(first, 16) >= 0
    others = [(511, 64, 0), (512, 32, 0), (512, 64, 1)]
    assert len({first, *(toy_cats_fingerprint(*other) for other in others)}) == 4


def test_another_drawing_needs_another_version() -> None:
    """If this fails, the cats changed: raise TOY_CATS_VERSION, then write the new colours here."""
    colours = [
        [120.3, 110.0, 121.0],
        [97.0, 90.1, 65.7],
        [113.2, 100.2, 98.2],
        [156.5, 141.4, 125.2],
    ]
    # Rounded generously, as Pillow versions may differ in a few pixels along the edges.
    np.testing.assert_allclose(draw_toy_cats(4, 32, seed=0).mean(axis=(2, 3)), colours, atol=1.0)


def test_fingerprint_changes_with_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = toy_cats_fingerprint(8, 32, 0)
    monkeypatch.setattr("dcgan.data.toy_cats.TOY_CATS_VERSION", 2)
    assert toy_cats_fingerprint(8, 32, 0) != before
