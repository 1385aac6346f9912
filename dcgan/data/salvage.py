"""Damaged photo files whose pixels are whole.

Metadata never decides over pixels: where a file cannot be read, its profiles, texts and thumbnails
are left out and it is read again. The orientation is kept where it can be.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
_WEBP_PIXELS = frozenset((b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"))
_WEBP_METADATA_FLAGS = 0b0010_1100  # profile, EXIF, XMP
_JPEG_END = b"\xff\xd9"
_JPEG_BARE = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a length
_JPEG_SCAN, _JPEG_COMMENT, _JPEG_EXIF = 0xDA, 0xFE, 0xE1
_JPEG_COLOURS = frozenset((0xE0, 0xEE))  # JFIF and Adobe decide over the colour space


def without_metadata(data: bytes) -> bytes | None:
    """A PNG, JPEG or WebP file without metadata; None if it is another kind of file."""
    if data.startswith(PNG_SIGNATURE):
        return PNG_SIGNATURE + b"".join(_png_chunks(data))
    if data.startswith(b"\xff\xd8\xff"):
        return b"\xff\xd8" + b"".join(_jpeg_segments(data))
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        body = b"WEBP" + b"".join(_webp_chunks(data))
        return b"RIFF" + struct.pack("<I", len(body)) + body
    return None


def _png_chunks(data: bytes) -> Iterator[bytes]:
    """The chunks that make pixels, as they are: a damaged one is the reader's to refuse."""
    start = len(PNG_SIGNATURE)
    while start + 8 <= len(data):
        (length,), name = struct.unpack_from(">I", data, start), data[start + 4 : start + 8]
        end = start + 12 + length
        checked, checksum = data[start + 4 : end - 4], data[end - 4 : end]
        whole = zlib.crc32(checked).to_bytes(4, "big") == checksum
        if name in _PNG_PIXELS or (name == b"eXIf" and whole):
            yield data[start:end]
        start = end


def _jpeg_segments(data: bytes) -> Iterator[bytes]:
    """Everything but comments and the segments of applications that change no pixel."""
    start = 2
    while start + 4 <= len(data) and data[start] == 0xFF:
        marker = data[start + 1]
        if marker in (0xFF, *_JPEG_BARE):  # 0xFF fills the space before a marker
            start += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, start + 2)
        if marker == _JPEG_SCAN:  # the pixels begin
            break
        segment = data[start : start + 2 + length]
        application = 0xE0 <= marker <= 0xEF
        exif = marker == _JPEG_EXIF and segment[4:10] == b"Exif\0\0"
        if exif or marker in _JPEG_COLOURS or not (application or marker == _JPEG_COMMENT):
            yield segment
        start += 2 + length
    yield data[start:]


def _webp_chunks(data: bytes) -> Iterator[bytes]:
    start = 12
    while start + 8 <= len(data):
        name, (length,) = data[start : start + 4], struct.unpack_from("<I", data, start + 4)
        end = start + 8 + length + length % 2
        if name == b"VP8X":
            yield data[start : start + 8]
            yield bytes([data[start + 8] & ~_WEBP_METADATA_FLAGS])
            yield data[start + 9 : end]
        elif name in _WEBP_PIXELS:
            yield data[start:end]
        start = end


def _all_scans(data: bytes) -> bool:
    """Whether a progressive JPEG has begun its last scan; true for any other JPEG.

    A scan sends some bits of some coefficients. All have been sent once each coefficient of each
    component was sent down to its lowest bit (ITU-T T.81, annex G).
    """
    missing: dict[int, int] = {}  # component → mask of the coefficients without their lowest bit
    start, progressive = 2, False
    while (start := data.find(b"\xff", start)) >= 0 and start + 4 <= len(data):
        marker = data[start + 1]
        body = data[start + 4 :][: max(0, struct.unpack_from(">H", data, start + 2)[0] - 2)]
        if marker == 0xC2 and len(body) >= 6:
            progressive = True
            missing = dict.fromkeys(body[6::3], 2**64 - 1)
        elif marker == _JPEG_SCAN and body and len(body) >= 2 * body[0] + 4:
            first, last, bits = body[-3:]
            sent = 0 if bits & 15 else (1 << last + 1) - (1 << first)
            for component in body[1:-3:2]:
                missing[component] = missing.get(component, 0) & ~sent
        bare = marker in (0x00, 0xFF, *_JPEG_BARE)
        start += 1 if bare else 4 + len(body)
    return not progressive or not any(missing.values())


def with_end(data: bytes) -> list[bytes]:
    """A JPEG that lacks its end marker, ended in several ways; nothing for any other file.

    If all have the same pixels, none is missing: what was added before the end, which reads as more
    pixels, was never needed.
    """
    if not data.startswith(b"\xff\xd8\xff") or data.endswith(_JPEG_END) or not _all_scans(data):
        return []
    data = data.removesuffix(b"\xff")  # half of the end marker
    endings = [b""]
    for pixels in (bytes(range(1, 200)), b"\x55" * 200, b"\x9c\x31\x07\xe8" * 50, b"\x00" * 200):
        restarts = (b"\xff" + bytes([marker]) + pixels for marker in range(0xD0, 0xD8))
        endings.append(pixels + b"".join(restarts))
    return [data + ending + _JPEG_END for ending in endings]
