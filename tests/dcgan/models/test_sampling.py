"""Pictures, pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dcgan.data.pixels import to_uint8
from dcgan.models.networks import Generator, initialise
from dcgan.models.sampling import GRID_IMAGES, fixed_noise, latent_walk, render, slerp
from dcgan.runtime.pictures import (
    PALETTE_PIXELS,
    grid_row,
    grid_scale,
    image_grid,
    lightly_compressed,
    save_animation,
    save_picture,
    side_by_side,
)
from dcgan.runtime.seeds import make_rng

PAD = 2


@pytest.fixture
def generator() -> Generator:
    network = Generator(6, 4, 32)
    initialise(network, make_rng("cpu", 1))
    with torch.no_grad():
        network[-2].weight.mul_(20)  # contrast
        for _ in range(20):
            network(fixed_noise(6))
    return network.eval().requires_grad_(False)


def random_images(count: int, size: int) -> torch.Tensor:
    values = np.random.default_rng(count).integers(0, 255, (count, 3, size, size), dtype=np.uint8)
    return torch.from_numpy(values)  # 255, the background, does not occur


@pytest.mark.parametrize(
    ("count", "columns", "rows_columns"),
    [(4, None, (2, 2)), (5, None, (2, 3)), (6, 4, (2, 4)), (1, None, (1, 1)), (3, 1, (3, 1))],
)
@pytest.mark.parametrize("scale", [1, 3])
def test_grid_layout(
    count: int, columns: int | None, rows_columns: tuple[int, int], scale: int
) -> None:
    size, (rows, across) = 8, rows_columns
    images = random_images(count, size)
    picture = np.asarray(image_grid(images, columns, scale))
    pitch = size + PAD
    assert picture.shape == ((rows * pitch + PAD) * scale, (across * pitch + PAD) * scale, 3)
    assert picture.dtype == np.uint8
    small = picture[::scale, ::scale]
    assert np.array_equal(small.repeat(scale, 0).repeat(scale, 1), picture)
    rest = small.copy()
    for index in range(count):
        top, left = PAD + index // across * pitch, PAD + index % across * pitch
        tile = small[top : top + size, left : left + size]
        assert np.array_equal(tile, images[index].permute(1, 2, 0).numpy())
        rest[top : top + size, left : left + size] = 255
    assert (rest == 255).all()


@pytest.mark.parametrize("scale", [1, 3])
def test_the_first_row_of_a_grid_without_its_frames(scale: int) -> None:
    size, columns = 8, 4
    images = random_images(columns**2, size)
    row = grid_row(image_grid(images, scale=scale), columns, size)
    assert row is not None
    pixels = np.asarray(row)[::scale, ::scale]
    cells = np.split(pixels, columns, axis=1)  # equally wide
    for cell, image in zip(cells, images, strict=False):
        opaque = cell[..., 3] == 255
        assert opaque.sum() == size**2
        assert (cell[~opaque] == 0).all()
        shown = cell[:, opaque.all(axis=0), :3]
        assert np.array_equal(shown, image.permute(1, 2, 0).numpy())


def test_other_pictures_are_no_grid() -> None:
    grid = image_grid(random_images(16, 8))
    assert grid_row(grid, 4, 16) is None  # of other images
    assert grid_row(image_grid(random_images(8, 8), 4), 4, 8) is None  # not square


def test_scale_makes_small_images_visible() -> None:
    assert {size: grid_scale(size) for size in (32, 64, 128, 256)} == {32: 4, 64: 2, 128: 1, 256: 1}
    assert [grid_scale(size, tile_pixels=64) for size in (32, 64, 128)] == [2, 1, 1]


def test_side_by_side() -> None:
    left, right = Image.new("RGB", (50, 40), (1, 2, 3)), Image.new("RGB", (30, 60), (4, 5, 6))
    panel = np.asarray(side_by_side([left, right], ["Photos", "Generated"]))
    assert panel.shape == (60 + 24, 50 + 16 + 30, 3)
    assert (panel[24:64, :50] == (1, 2, 3)).all()
    assert (panel[24:84, 66:] == (4, 5, 6)).all()
    assert (panel[24:, 50:66] == 255).all()
    assert (panel[:24] < 128).any()  # the titles


def test_fixed_noise_is_the_same_in_every_run() -> None:
    noise = fixed_noise(6)
    assert noise.shape == (GRID_IMAGES, 6, 1, 1) == (64, 6, 1, 1)
    torch.manual_seed(123)
    assert torch.equal(noise, fixed_noise(6))
    assert torch.equal(fixed_noise(6, 9, seed=0), fixed_noise(6, 9, seed=0))
    assert not torch.equal(fixed_noise(6, 9, seed=0), fixed_noise(6, 9, seed=1))
    assert not torch.equal(fixed_noise(6, 9, seed=0), fixed_noise(6, 9))


def test_render_is_the_network(generator: Generator) -> None:
    noise = fixed_noise(6, 10)
    images = render(generator, noise)
    assert images.dtype == torch.uint8
    assert images.shape == (10, 3, 32, 32)
    assert torch.equal(images, to_uint8(generator(noise)))
    difference = (render(generator, noise, batch_size=3).int() - images.int()).abs()
    assert difference.max() <= 1


def test_slerp_ends_and_lengths() -> None:
    rng = make_rng("cpu", 2)
    start, end = (torch.randn(16, 30, 1, 1, generator=rng).double() for _ in range(2))
    torch.testing.assert_close(slerp(start, end, 0.0), start)
    torch.testing.assert_close(slerp(start, end, 1.0), end)
    halfway = slerp(start, end, 0.5)
    # Halfway, the angle to both ends is the same.
    same = torch.nn.functional.cosine_similarity
    unit_start, unit_end = (
        start / start.norm(dim=1, keepdim=True),
        end / end.norm(dim=1, keepdim=True),
    )
    middle = slerp(unit_start, unit_end, 0.5)
    torch.testing.assert_close(same(middle, unit_start), same(middle, unit_end))
    for fraction in (0.1, 0.5, 0.9):
        lengths = slerp(unit_start, unit_end, fraction).norm(dim=1)
        torch.testing.assert_close(lengths, torch.ones_like(lengths))
    # A straight line would lose about 30 % of the length here.
    typical = (start.norm(dim=1) + end.norm(dim=1)) / 2
    shorter = halfway.norm(dim=1) / typical
    assert float(shorter.min()) > 0.9
    assert float(shorter.max()) < 1.1


@pytest.mark.parametrize("other", ["same", "opposite"])
def test_slerp_survives_parallel_noise(other: str) -> None:
    start = torch.randn(4, 5, 1, 1, generator=make_rng("cpu", 3))
    end = start.clone() if other == "same" else -start
    for fraction in (0.0, 0.3, 1.0):
        assert slerp(start, end, fraction).isfinite().all()
    torch.testing.assert_close(slerp(start, end, 0.0), start)
    torch.testing.assert_close(slerp(start, end, 1.0), end, rtol=1e-4, atol=1e-4)
    if other == "same":
        torch.testing.assert_close(slerp(start, end, 0.3), start, rtol=1e-4, atol=1e-4)


def test_walk_returns_to_its_start(generator: Generator) -> None:
    frames = [np.asarray(frame).astype(int) for frame in latent_walk(generator, 0, 3, 8)]
    assert len(frames) == 24
    steps = [np.abs(a - b).mean() for a, b in zip(frames, [*frames[1:], frames[0]], strict=True)]
    assert min(steps) > 0
    # The way from the last frame to the first is a step like the others.
    assert steps[-1] < 2 * max(steps[:-1])
    far = np.abs(frames[0] - frames[8]).mean()
    assert steps[-1] < far / 2
    again = latent_walk(generator, 0, 3, 8)
    assert all(np.array_equal(a, np.asarray(b)) for a, b in zip(frames, again, strict=True))
    assert not np.array_equal(frames[0], np.asarray(latent_walk(generator, 1, 1, 1)[0]))


@pytest.mark.parametrize("count", [1, 2, 7])
def test_animation_frames(tmp_path: Path, count: int) -> None:
    pictures = [image_grid(random_images(count + index, 8)) for index in range(count)]
    pictures = [picture.resize((40, 40)) for picture in pictures]
    path = tmp_path / "new folder" / "walk.gif"
    save_animation(pictures, path)
    assert [file.name for file in path.parent.iterdir()] == ["walk.gif"]
    with Image.open(path) as animation:
        assert animation.n_frames == count  # type: ignore[attr-defined]
        durations = []
        for frame in range(count):
            animation.seek(frame)
            durations.append(animation.info["duration"])
        assert durations == [120] * (count - 1) + [1000]
        if count > 1:
            assert animation.info["loop"] == 0


def test_an_animation_has_the_colours_of_its_pictures(tmp_path: Path) -> None:
    smooth = torch.linspace(0, 255, 64).expand(64, 3, 64, 64).clone()
    smooth[:, 1] = smooth[:, 1].transpose(1, 2)
    smooth[:, 2] = torch.linspace(0, 255, 64)[:, None, None]  # another blue in each
    picture = image_grid(smooth.to(torch.uint8), scale=1)
    assert max(picture.size) > 2 * PALETTE_PIXELS  # so that the colours come from a smaller copy
    save_animation([picture] * 2, tmp_path / "walk.gif")
    with Image.open(tmp_path / "walk.gif") as animation:
        shown = np.asarray(animation.convert("RGB"), float)
    colours = picture.quantize(256)  # chosen from the whole picture
    best = np.asarray(picture.quantize(palette=colours).convert("RGB"), float)
    ours, theirs = (np.abs(it - np.asarray(picture, float)).mean() for it in (shown, best))
    assert 0.8 * theirs < ours < 1.2 * theirs


def test_a_library_saves_the_same_pixels_sooner(tmp_path: Path) -> None:
    picture = image_grid(random_images(64, 32), scale=2)
    picture.save(tmp_path / "plain.png", compress_level=1)
    shown = lightly_compressed(picture)
    shown.save(tmp_path / "ours.png")
    assert (tmp_path / "ours.png").read_bytes() == (tmp_path / "plain.png").read_bytes()
    shown.save(tmp_path / "small.webp")  # MLflow saves a small copy as well
    with Image.open(tmp_path / "small.webp") as small:
        assert small.size == picture.size


def test_pictures_are_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a" / "grid.png"
    for colour in (10, 200):
        save_picture(Image.new("RGB", (4, 4), (colour, 0, 0)), path)
        with Image.open(path) as picture:
            assert picture.getpixel((0, 0)) == (colour, 0, 0)
    assert [file.name for file in path.parent.iterdir()] == ["grid.png"]
