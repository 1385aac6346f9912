"""Files that are damaged beside their pixels, made byte by byte."""

from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcgan.data.decode import PhotoFacts, Pixels, read_photo

METADATA, END = "its metadata is damaged or too large", "its end marker is missing"
RNG = np.random.default_rng(7)
NOISE = Image.fromarray(RNG.integers(0, 256, (45, 35, 3), dtype=np.uint8)).resize((140, 180))
LARGE = RNG.integers(0, 256, 2_000_000, dtype=np.uint8).tobytes()


def encoded(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    NOISE.save(buffer, kind, **options)
    return buffer.getvalue()


def read(folder: Path, data: bytes) -> tuple[PhotoFacts, Pixels | None]:
    (folder / "photo").write_bytes(data)
    return read_photo(folder / "photo", None)


def chunk(name: bytes, body: bytes, *, damaged: bool = False) -> bytes:
    checksum = zlib.crc32(name + body) ^ damaged
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)


PNG_METADATA = {
    "large compressed text": chunk(b"zTXt", b"a\0\0" + zlib.compress(LARGE)),
    "text that unpacks to 300 MB": chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(300_000_000))),
    "seventy texts of 1 MB": b"".join(
        chunk(b"zTXt", b"%d\0\0" % number + zlib.compress(bytes(1_000_000))) for number in range(70)
    ),
    "large international text": chunk(
        b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(LARGE)
    ),
    "large profile": chunk(b"iCCP", b"a\0\0" + zlib.compress(LARGE)),
    "a profile that is none": chunk(b"iCCP", b"a\0\0no zlib"),
    "bad checksum of a text": chunk(b"tEXt", b"a\0b", damaged=True),
    "bad checksum of a resolution": chunk(b"pHYs", bytes(9), damaged=True),
    "bad checksum of EXIF": chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\0", damaged=True),
    "a short time": chunk(b"tIME", b"\0", damaged=True),
}


@pytest.mark.parametrize("name", PNG_METADATA)
@pytest.mark.parametrize("place", ["before", "behind"])
def test_metadata_of_a_png_does_not_decide_over_its_pixels(
    tmp_path: Path, name: str, place: str
) -> None:
    whole = encoded("PNG")
    _, expected = read(tmp_path, whole)
    split = 33 if place == "before" else len(whole) - 12  # behind the header or before the end
    facts, pixels = read(tmp_path, whole[:split] + PNG_METADATA[name] + whole[split:])
    assert facts.reason == ""
    assert (facts.width, facts.height) == NOISE.size
    np.testing.assert_array_equal(pixels, expected)


def test_a_bad_checksum_of_pixels_is_damage(tmp_path: Path) -> None:
    whole = bytearray(encoded("PNG"))
    whole[len(whole) // 2] ^= 1
    facts, pixels = read(tmp_path, bytes(whole))
    assert (facts.reason, pixels) == ("the image data is damaged", None)


def test_orientation_survives_where_it_can(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("PNG", "JPEG"):
        whole = encoded(kind, exif=exif)
        upright, expected = read(tmp_path, whole)
        assert upright.width == NOISE.height
        damage = PNG_METADATA["bad checksum of a text"]
        damaged = whole[:33] + damage + whole[33:] if kind == "PNG" else whole[:-2]
        facts, pixels = read(tmp_path, damaged)
        assert facts.damage in (METADATA, END)
        assert facts.width == NOISE.height
        np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("cut", [1, 2])
def test_a_jpeg_without_its_end_marker_is_whole(tmp_path: Path, options: dict, cut: int) -> None:
    whole = encoded("JPEG", **options)
    _, expected = read(tmp_path, whole)
    facts, pixels = read(tmp_path, whole[:-cut])
    assert (facts.reason, facts.damage) == ("", END)
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_a_jpeg_without_pixels_at_its_end_is_cut_short(tmp_path: Path, options: dict) -> None:
    whole = encoded("JPEG", **options)
    for keep in (0.5, 0.8, 0.95):
        facts, pixels = read(tmp_path, whole[: int(len(whole) * keep)])
        assert (facts.reason, pixels) == ("the file is cut short", None)
    if options.get("progressive"):
        starts = [place.start() for place in re.finditer(b"\xff\xda", whole)]
        assert len(starts) > 5
        for cut in starts[1:]:  # whole scans are missing
            assert read(tmp_path, whole[:cut])[0].reason == "the file is cut short"
    if options.get("restart_marker_rows"):
        for marker in (b"\xff\xd1", b"\xff\xd4"):  # nothing is cut through
            place = whole.index(marker)
            for cut in (place, place + 2):
                assert read(tmp_path, whole[:cut])[0].reason == "the file is cut short"


def segment(marker: int, body: bytes, length: int = 0) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", length or len(body) + 2) + body


@pytest.mark.parametrize(
    "segments",
    [
        segment(0xE2, b"ICC_PROFILE\0\1\2" + bytes(9)),  # the second part is missing
        segment(0xE2, b"MPF\0" + bytes(40)),
        segment(0xED, b"Photoshop 3.0\x008BIM" + bytes(3)),
        segment(0xE1, b"Exif\0\0garbage"),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + bytes(range(256)) * 200),
        segment(0xFE, bytes(range(256)) * 255),
    ],
)
def test_metadata_of_a_jpeg_does_not_decide_over_its_pixels(
    tmp_path: Path, segments: bytes
) -> None:
    whole = encoded("JPEG")
    _, expected = read(tmp_path, whole)
    facts, pixels = read(tmp_path, whole[:20] + segments + whole[20:])
    assert facts.reason == ""
    np.testing.assert_array_equal(pixels, expected)


def test_metadata_of_a_webp_does_not_decide_over_its_pixels(tmp_path: Path) -> None:
    whole = encoded("WEBP", lossless=True, exif=b"Exif\0\0MM\0*garbage", icc_profile=bytes(100))
    _, expected = read(tmp_path, encoded("WEBP", lossless=True))
    start = whole.index(b"EXIF")
    longer = whole[: start + 4] + struct.pack("<I", 10**6) + whole[start + 8 :]
    for data in (whole, longer, whole[: start + 12]):
        facts, pixels = read(tmp_path, data)
        assert facts.reason == ""
        np.testing.assert_array_equal(pixels, expected)


def test_random_cuts_and_flips_of_metadata_never_change_pixels(tmp_path: Path) -> None:
    """Whatever a damaged file still gives as a photo has its pixels."""
    rng = np.random.default_rng(1)
    for kind in ("PNG", "JPEG"):
        whole = encoded(kind)
        _, expected = read(tmp_path, whole)
        assert expected is not None
        for _ in range(40):
            facts, pixels = read(tmp_path, whole[: int(rng.integers(20, len(whole)))])
            if pixels is not None:
                assert facts.damage or kind == "PNG"
                np.testing.assert_array_equal(pixels, expected)
