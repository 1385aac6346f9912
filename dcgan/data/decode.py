"""One photo file → an upright, square, 8-bit RGB picture, or the reason why it is unusable.

The shorter side is resized to the wanted size (bilinear with antialiasing) and the centre is cut
out. The pixels are those of torchvision's `Resize(S)` + `CenterCrop(S)` on the upright RGB photo.
Transparent parts become white. The first frame of an animation counts. Colour profiles are ignored.
A file's content decides its format, not its name.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import logging
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image, UnidentifiedImageError

Pixels = npt.NDArray[np.uint8]

# Named, so that Pillow tries no other formats (an EPS named .jpg would start Ghostscript).
FORMATS = ("Jpeg", "Png", "WebP", "Bmp", "Gif", "Tiff")
for _name in FORMATS:  # this registers a format; in threads, Pillow's lazy imports would race
    importlib.import_module(f"PIL.{_name}ImagePlugin")
PREPROCESSING = f"1, Pillow {PIL.__version__}"
"""Part of cache keys. Raise the number if this module makes other pixels."""
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


class _UnfitPhotoError(Exception):
    """The content cannot be used; the message says why."""


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
    digest = hashlib.sha256(data).hexdigest()
    width = height = 0
    try:
        if not data:
            raise _UnfitPhotoError("the file is empty")
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise _UnfitPhotoError(f"more than 100 megapixels ({width}×{height})")
            if max(width, height) > MAX_ASPECT * min(width, height):
                raise _UnfitPhotoError(f"a strip: {width}×{height}, more than {MAX_ASPECT} to 1")
            with _LARGE_ONES if width * height > _LARGE_PIXELS else contextlib.nullcontext():
                upright = _upright(picture)
                width, height = upright.size
                pixels = _pixels(_to_rgb(upright), image_size)
    except MemoryError:  # a fault of the machine must not be remembered as one of the file
        raise
    except _UnfitPhotoError as error:
        reason = str(error)
    except Image.DecompressionBombError:  # raised before the size is known
        reason = "more than 100 megapixels"
    except UnidentifiedImageError:
        reason = "not a readable JPEG, PNG, WebP, BMP, GIF or TIFF image"
    except Exception as error:  # Pillow's plugins raise nearly anything on damaged files
        cut = "truncated" in str(error).lower()
        reason = "the file is cut short" if cut else "the image data is damaged"
    else:
        return PhotoFacts(digest, width, height, ""), pixels
    return PhotoFacts(digest, width, height, reason), None


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
