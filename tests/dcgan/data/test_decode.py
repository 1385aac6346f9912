"""One file in, one picture or one reason out: formats, orientation, damage, torchvision."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torchvision.transforms.functional as tvf
from PIL import Image, ImageOps

from dcgan.data import decode
from dcgan.data.decode import PhotoFacts, quiet_pillow, read_photo, too_small

RED, GREEN, BLUE, GREY = (200, 30, 40), (20, 180, 60), (30, 60, 210), (128, 128, 128)


def quadrants(side: int = 128) -> Image.Image:
    """Red, green / blue, grey: any turn, flip or swap of channels shows."""
    picture = Image.new("RGB", (side, side), RED)
    half = side // 2
    picture.paste(GREEN, (half, 0, side, half))
    picture.paste(BLUE, (0, half, half, side))
    picture.paste(GREY, (half, half, side, side))
    return picture


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def load(path: Path, size: int = 64) -> np.ndarray:
    with quiet_pillow():
        facts, pixels = read_photo(path, size)
    assert facts.reason == ""
    assert pixels is not None
    assert pixels.dtype == np.uint8
    assert pixels.shape == (3, size, size)
    return pixels


def reason(path: Path, size: int = 64) -> str:
    with quiet_pillow():
        facts, pixels = read_photo(path, size)
    assert pixels is None
    return facts.reason


def corners(pixels: np.ndarray) -> list[tuple[int, ...]]:
    """The middles of the four quadrants: top left, top right, bottom left, bottom right."""
    a, b = pixels.shape[1] // 4, 3 * pixels.shape[1] // 4
    return [tuple(int(v) for v in pixels[:, y, x]) for y, x in ((a, a), (a, b), (b, a), (b, b))]


def assert_close(actual: list[tuple[int, ...]], expected: list[tuple[int, ...]], by: int) -> None:
    assert np.abs(np.array(actual) - np.array(expected)).max() <= by, (actual, expected)


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("a.jpg", {"quality": 95}, 3),
        ("a.JPEG", {"quality": 95, "progressive": True}, 3),
        ("a.png", {}, 0),
        ("a.webp", {"lossless": True}, 0),
        ("lossy.webp", {"quality": 90}, 6),
        ("a.bmp", {}, 0),
        ("a.tif", {}, 0),
        ("packed.tiff", {"compression": "tiff_lzw"}, 0),
    ],
)
def test_formats(tmp_path: Path, name: str, options: dict, tolerance: int) -> None:
    quadrants().save(tmp_path / name, **options)
    assert_close(corners(load(tmp_path / name)), [RED, GREEN, BLUE, GREY], tolerance)


def test_the_content_counts_not_the_name(tmp_path: Path) -> None:
    quadrants().save(tmp_path / "a.jpg", format="PNG")
    assert corners(load(tmp_path / "a.jpg")) == [RED, GREEN, BLUE, GREY]


@pytest.mark.parametrize(("mode", "name"), [("L", "a.png"), ("L", "a.jpg"), ("1", "a.png")])
def test_grey_becomes_three_equal_channels(tmp_path: Path, mode: str, name: str) -> None:
    quadrants().convert(mode).save(tmp_path / name)
    pixels = load(tmp_path / name)
    assert (pixels[0] == pixels[1]).all()
    assert (pixels[0] == pixels[2]).all()
    expected = np.asarray(quadrants().convert(mode).convert("L").resize((64, 64), 2), int)
    assert np.abs(pixels[0] - expected).max() <= 3


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.bmp"])
def test_palette(tmp_path: Path, name: str) -> None:
    quadrants().quantize(16).save(tmp_path / name)
    assert_close(corners(load(tmp_path / name)), [RED, GREEN, BLUE, GREY], 4)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bit_grey_is_scaled(tmp_path: Path, name: str) -> None:
    levels = np.array([0, 257, 128 * 257, 65535], np.uint16)
    deep = levels[(np.arange(128)[:, None] // 64) * 2 + np.arange(128)[None, :] // 64]
    Image.fromarray(deep).save(tmp_path / name)
    assert corners(load(tmp_path / name)) == [(v, v, v) for v in (0, 1, 128, 255)]


def test_cmyk(tmp_path: Path) -> None:
    quadrants().convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert_close(corners(load(tmp_path / "a.jpg")), [RED, GREEN, BLUE, GREY], 6)


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_transparency_becomes_white(tmp_path: Path, name: str) -> None:
    picture = quadrants().convert("RGBA")
    picture.paste((*RED, 0), (0, 0, 64, 64))
    picture.paste((*GREEN, 128), (64, 0, 128, 64))
    picture.save(tmp_path / name, **({"lossless": True} if name == "a.webp" else {}))
    half = tuple(round(255 + (v - 255) * 128 / 255) for v in GREEN)
    assert_close(corners(load(tmp_path / name)), [(255, 255, 255), half, BLUE, GREY], 1)


def test_grey_with_alpha(tmp_path: Path) -> None:
    picture = Image.new("LA", (128, 128), (40, 255))
    picture.paste((0, 0), (64, 0, 128, 128))
    picture.save(tmp_path / "a.png")
    dark, white = (40, 40, 40), (255, 255, 255)
    assert corners(load(tmp_path / "a.png")) == [dark, white, dark, white]


@pytest.mark.parametrize("kind", ["palette", "colour", "palette with alpha"])
def test_transparent_colour(tmp_path: Path, kind: str) -> None:
    """One colour, or each palette entry, may be declared transparent outside the pixels."""
    if kind == "colour":
        quadrants().save(tmp_path / "a.png", transparency=RED)
    else:
        picture = quadrants().quantize(4)
        index = picture.getpixel((0, 0))
        alphas = bytes(0 if i == index else 255 for i in range(4))
        picture.save(tmp_path / "a.png", transparency=index if kind == "palette" else alphas)
    assert_close(corners(load(tmp_path / "a.png")), [(255,) * 3, GREEN, BLUE, GREY], 4)


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in (RED, GREEN, BLUE)]
    for name in ("a.gif", "a.webp", "a.png", "a.mpo"):
        options = {"lossless": True} if name == "a.webp" else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        assert_close(corners(load(tmp_path / name)), [RED] * 4, 2)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("name", ["a.jpg", "a.tif", "a.png"])
def test_exif_orientation(tmp_path: Path, orientation: int, name: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    wide = quadrants(192).crop((0, 0, 192, 160))
    wide.save(tmp_path / name, exif=exif, **({"quality": 95} if name == "a.jpg" else {}))
    with Image.open(tmp_path / name) as stored:
        upright = ImageOps.exif_transpose(stored).convert("RGB")
    expected = np.asarray(tvf.center_crop(tvf.resize(upright, 64), 64)).transpose(2, 0, 1)
    assert np.array_equal(load(tmp_path / name), expected)
    with quiet_pillow():
        facts, _ = read_photo(tmp_path / name, 64)
    assert (facts.width, facts.height) == upright.size


def test_orientation_6_by_hand(tmp_path: Path) -> None:
    """6: the stored top row is the right column of the scene."""
    exif = Image.Exif()
    exif[0x0112] = 6
    quadrants().save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert_close(corners(load(tmp_path / "a.jpg")), [BLUE, RED, GREY, GREEN], 3)


def test_broken_exif_is_no_error(tmp_path: Path) -> None:
    quadrants().save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff garbage")
    assert_close(corners(load(tmp_path / "a.jpg")), [RED, GREEN, BLUE, GREY], 12)


@pytest.mark.parametrize("side", [32, 64, 128])
@pytest.mark.parametrize(
    "size",
    [(500, 375), (375, 500), (64, 64), (65, 64), (64, 67), (40, 33), (333, 1000), (1217, 131)],
)
def test_same_as_torchvision(tmp_path: Path, size: tuple[int, int], side: int) -> None:
    noise(*size).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        expected = np.asarray(tvf.center_crop(tvf.resize(picture, side), side))
    assert np.array_equal(load(tmp_path / "a.png", side), expected.transpose(2, 0, 1))


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises a size and holds no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    noise(128, 128).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is empty"),
        (b"these are not the cats you are looking for", "not a readable JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a readable JPEG"),
        (png_header(20_000, 5_001), "more than 100 megapixels (20000×5001)"),
        (png_header(60_000, 60_000), "more than 100 megapixels"),
        (
            png_header(9_500, 9_500),
            "the file is cut short",
        ),  # Pillow warns at this size: must not leak
        (png_header(16, 400_000), "a strip: 16×400000, more than 20 to 1"),
        (encoded("JPEG")[:3000], "the file is cut short"),
        (encoded("PNG")[:3000], "the file is cut short"),
        (encoded("BMP")[:3000], "the file is cut short"),
        (encoded("TIFF")[:3000], "cut short|damaged|not a readable"),
        (encoded("GIF")[:3000], "cut short|damaged"),
        (encoded("WEBP")[:3000], "cut short|damaged|not a readable"),
        (encoded("JPEG")[:10], "cut short|damaged|not a readable"),
        (encoded("PNG")[:3000] + bytes(5000), "damaged|cut short"),
    ],
)
def test_bad_content_gives_a_plain_reason(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    found = reason(tmp_path / "a.jpg")
    assert any(part in found for part in expected.split("|")), found
    assert "\n" not in found


def test_random_damage_never_escapes(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"):
        buffer = io.BytesIO()
        noise(40, 40).save(buffer, kind)
        for _ in range(60):
            content = np.frombuffer(buffer.getvalue(), np.uint8).copy()
            where = rng.integers(0, min(len(content), 400), 4)
            content[where] = rng.integers(0, 256, 4)
            (tmp_path / "a.jpg").write_bytes(content.tobytes())
            with quiet_pillow():
                facts, pixels = read_photo(tmp_path / "a.jpg", 32)
            assert (pixels is None) == bool(facts.reason or too_small(*facts[1:3], 32))


def test_more_than_8_bits_without_a_scale(tmp_path: Path) -> None:
    Image.fromarray(np.full((64, 64), 0.5, np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(np.full((64, 64), 1 << 20, np.int32)).save(tmp_path / "int.tif")
    assert "floating-point" in reason(tmp_path / "float.tif")
    assert "32-bit grey" in reason(tmp_path / "int.tif")


def test_missing_and_unreadable(tmp_path: Path) -> None:
    assert reason(tmp_path / "a.jpg") == "cannot be read: No such file or directory"


@pytest.mark.parametrize(("side", "shortest"), [(32, 8), (64, 16), (128, 32)])
def test_too_small(tmp_path: Path, side: int, shortest: int) -> None:
    noise(shortest - 1, 60).save(tmp_path / "small.png")
    with quiet_pillow():
        facts, pixels = read_photo(tmp_path / "small.png", side)
    assert pixels is None
    assert facts.reason == ""  # it is a good photo for smaller sizes
    assert "too small" in too_small(facts.width, facts.height, side)
    noise(shortest, 60).save(tmp_path / "enough.png")
    load(tmp_path / "enough.png", side)


def test_one_pixel(tmp_path: Path) -> None:
    noise(1, 1).save(tmp_path / "a.png")
    with quiet_pillow():
        facts, pixels = read_photo(tmp_path / "a.png", 32)
    assert pixels is None
    assert facts[1:] == (1, 1, "", "")


def test_running_out_of_memory_is_not_blamed_on_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    noise(64, 64).save(tmp_path / "a.png")
    monkeypatch.setattr(decode, "_square", fail)
    with pytest.raises(MemoryError):
        read_photo(tmp_path / "a.png", 64)


def test_large_photos_work(tmp_path: Path) -> None:
    Image.new("RGB", (6000, 4200), RED).save(tmp_path / "a.jpg")
    assert_close(corners(load(tmp_path / "a.jpg")), [RED] * 4, 3)


def test_quiet_pillow_is_narrow() -> None:
    with quiet_pillow(), pytest.warns(UserWarning, match="ours"):
        warnings.warn("ours", UserWarning, stacklevel=1)


def test_facts_are_about_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"abc")
    facts, _ = read_photo(tmp_path / "a.jpg", 64)
    assert (
        facts[:3]
        == PhotoFacts("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", 0, 0, "")[
            :3
        ]
    )
