"""One photo file → an upright, square, 8-bit RGB picture, or the reason why it is unusable.

The shorter side is resized to the wanted size (bilinear with antialiasing) and the centre is cut
out. The pixels are those of torchvision's `Resize(S)` + `CenterCrop(S)` on the upright RGB photo.
Transparent parts become white. The first frame of an animation counts. Colour profiles are ignored.
A file's content decides its format, not its name.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from dcgan.data.formats import FORMATS, READER
from dcgan.data.salvage import with_end, without_metadata
from dcgan.runtime.pictures import is_own

Pixels = npt.NDArray[np.uint8]

PREPROCESSING = f"2, {READER}"
"""Part of cache keys. Raise the number if this module makes other pixels."""
OWN_PICTURE = "a picture that this program made"
"""The reason of grids and plots that lie among the photos."""
MAX_PIXELS = 100_000_000
MAX_ASPECT = 20
"""Longer strips are refused: resized by their shorter side, they would fill the memory."""
_LARGE_PIXELS = 25_000_000
_LARGE_ONES = threading.Lock()
"""Held while a large photo is decoded, so that no two threads do so at once."""
_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

logging.getLogger("PIL").addHandler(logging.NullHandler())  # or odd files would write to stderr


class PhotoFacts(NamedTuple):
    """What is known about a file's content. It does not depend on the training size."""

    digest: str
    """sha256 of the raw bytes (hex). Empty if they could not be read."""
    width: int
    """Of the upright photo in pixels. 0 if unknown."""
    height: int
    reason: str
    """Why it can never be used. Empty for a good photo."""
    damage: str = ""
    """What is damaged beside the pixels of a photo that is used. Usually empty."""


class _UnfitPhotoError(Exception):
    """The content cannot be used; the message says why."""


class _Decoded(NamedTuple):
    """An upright photo: its size, and its pixels (None if it is too small)."""

    width: int
    height: int
    pixels: Pixels | None


@contextlib.contextmanager
def quiet_pillow() -> Iterator[None]:
    """Silence Pillow's warnings about odd files in all threads; enter it once around them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\b")
        yield


def too_small(width: int, height: int, image_size: int) -> str:
    """Why a photo of this size cannot be used at `image_size`. Empty if it can."""
    shortest = image_size // 4  # enlarged more than four times, a photo is only blur
    if min(width, height) >= shortest:
        return ""
    return f"too small: {width}×{height} pixels, and data.image_size {image_size} needs {shortest}"


def read_photo(path: Path, image_size: int | None) -> tuple[PhotoFacts, Pixels | None]:
    """Read and decode one file. Threads may call this inside `quiet_pillow()`.

    Returns the facts and the pixels, uint8 RGB (3, `image_size`, `image_size`), or the whole photo
    (3, height, width) if `image_size` is None. The pixels are None if it is bad or too small.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        return PhotoFacts("", 0, 0, f"cannot be read: {error.strerror}"), None
    digest, damage = hashlib.sha256(data).hexdigest(), ""
    try:
        try:
            photo = _decode(data, image_size)
        except (_UnfitPhotoError, MemoryError):
            raise
        except Exception:  # Pillow's plugins raise nearly anything on damaged files
            photo, damage = _decode_damaged(data, image_size)
    except MemoryError:  # a fault of the machine must not be remembered as one of the file
        raise
    except Exception as error:
        return PhotoFacts(digest, *_stated_size(data), _plain_reason(error)), None
    return PhotoFacts(digest, photo.width, photo.height, "", damage), photo.pixels


def _decode(data: bytes, image_size: int | None) -> _Decoded:
    """Raises `_UnfitPhotoError`, or whatever Pillow raises."""
    if not data:
        raise _UnfitPhotoError("the file is empty")
    with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
        if is_own(picture):
            raise _UnfitPhotoError(OWN_PICTURE)
        width, height = picture.size
        if width * height > MAX_PIXELS:
            raise _UnfitPhotoError(f"more than 100 megapixels ({width}×{height})")
        if max(width, height) > MAX_ASPECT * min(width, height):
            raise _UnfitPhotoError(f"a strip: {width}×{height}, more than {MAX_ASPECT} to 1")
        large = width * height > _LARGE_PIXELS
        with _LARGE_ONES if large else contextlib.nullcontext():
            upright = _upright(picture)
            return _Decoded(*upright.size, _pixels(_to_rgb(upright), image_size))


def _decode_damaged(data: bytes, image_size: int | None) -> tuple[_Decoded, str]:
    """A photo that cannot be read as it is, and what is damaged. Raises as `_decode` does."""
    bare = without_metadata(data)
    if bare is None:
        return _decode(data, image_size), ""  # raises again
    try:
        return _decode(bare, image_size), "its metadata is damaged or too large"
    except (_UnfitPhotoError, MemoryError):
        raise
    except Exception:
        ended = with_end(bare)
        pixels = map(_pixel_digest, ended)
        first = next(pixels, None)  # None: not a JPEG
        if first is None or any(other != first for other in pixels):
            raise
    return _decode(ended[0], image_size), "its end marker is missing"


def _pixel_digest(data: bytes) -> bytes:
    """A digest of all pixels of a photo at its own size."""
    pixels = _decode(data, None).pixels
    return b"" if pixels is None else hashlib.sha256(pixels.data).digest()


def _stated_size(data: bytes) -> tuple[int, int]:
    """The (width, height) that a file states, which may be wrong; zeros if nobody can tell."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            return picture.size
    except Exception:
        return 0, 0


def _plain_reason(error: Exception) -> str:
    if isinstance(error, _UnfitPhotoError):
        return str(error)
    if isinstance(error, Image.DecompressionBombError):  # raised before we see the size
        return "more than 100 megapixels"
    if isinstance(error, UnidentifiedImageError):
        names = [name if name == "WebP" else name.upper() for name in FORMATS]
        return f"not a readable {', '.join(names[:-1])} or {names[-1]} image"
    if "truncated" in str(error).lower():
        return "the file is cut short"
    return "the image data is damaged"


def _upright(picture: Image.Image) -> Image.Image:
    """Apply the EXIF orientation. Unlike in `ImageOps.exif_transpose`, bad EXIF is no error."""
    picture.load()  # first, because this turns a TIFF and drops its tag
    try:
        orientation = picture.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # a broken EXIF block says nothing about the pixels
        orientation = 1
    turn = _TURNS.get(orientation)
    return picture if turn is None else picture.transpose(turn)


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "F":
        raise _UnfitPhotoError("floating-point pixels; save it as an 8-bit image")
    if picture.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion clips at 255
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > 65535:
            raise _UnfitPhotoError("32-bit grey pixels; save it as an 8-bit image")
        grey = ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    if picture.mode == "RGB":  # the usual case, which convert() would copy
        return picture
    try:
        return picture.convert("RGB")
    except ValueError:
        raise _UnfitPhotoError(f"its colour mode {picture.mode} is not supported") from None


def _pixels(rgb: Image.Image, image_size: int | None) -> Pixels | None:
    if image_size is not None:
        if too_small(*rgb.size, image_size):
            return None
        rgb = _square(rgb, image_size)
    return np.ascontiguousarray(np.asarray(rgb).transpose(2, 0, 1))


def _square(rgb: Image.Image, side: int) -> Image.Image:
    """Resize the shorter side and cut the centre. Rounds as torchvision."""
    width, height = rgb.size
    long_side = int(side * max(width, height) / min(width, height))
    new_width, new_height = (side, long_side) if width <= height else (long_side, side)
    left, top = round((new_width - side) / 2), round((new_height - side) / 2)
    resized = rgb.resize((new_width, new_height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + side, top + side))
