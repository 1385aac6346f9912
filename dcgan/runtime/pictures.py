"""Pictures as files: grids of uint8 images, panels with titles, animations."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from dcgan.runtime.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PADDING_PIXELS = 2
BACKGROUND = (255, 255, 255)
MADE_BY = "dcgan-study"
"""Written into every picture, so that none is taken for a photo."""
FRAME_MS = 120
COMPRESS_LEVEL = 1
"""Of PNG files, 0 to 9."""
PALETTE_PIXELS = 128
"""The side of the picture from which an animation takes its colours."""


def image_grid(images: Tensor, columns: int | None = None, scale: int = 1) -> Image.Image:
    """Tile uint8 images `(N, 3, S, S)` row by row into one picture (square by default)."""
    count, _, size, _ = images.shape
    columns = columns or int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    pitch = size + PADDING_PIXELS
    shape = (rows * pitch + PADDING_PIXELS, columns * pitch + PADDING_PIXELS, 3)
    canvas = np.full(shape, 255, np.uint8)
    for index, image in enumerate(images.permute(0, 2, 3, 1).cpu().numpy()):
        top = PADDING_PIXELS + index // columns * pitch
        left = PADDING_PIXELS + index % columns * pitch
        canvas[top : top + size, left : left + size] = image
    return Image.fromarray(canvas.repeat(scale, axis=0).repeat(scale, axis=1))


def grid_row(grid: Image.Image, columns: int, image_size: int) -> Image.Image | None:
    """The first row of a square `image_grid` of images of `image_size` pixels, at any scale.

    The frames around the images become transparent, and all columns equally wide. None if the
    picture is no such grid.
    """
    pitch, scale = image_size + PADDING_PIXELS, _scale_of(grid, columns, image_size)
    if scale is None:
        return None
    side, padding = image_size * scale, PADDING_PIXELS * scale
    row = Image.new("RGBA", (columns * pitch * scale, side), (0, 0, 0, 0))
    for column in range(columns):
        left = padding + column * pitch * scale
        image = grid.crop((left, padding, left + side, padding + side))
        row.paste(image, (left - padding // 2, 0))
    return row


def grid_images(grid: Image.Image, columns: int, image_size: int) -> Tensor | None:
    """The images of a square `image_grid`, uint8 `(columns², 3, S, S)`, at any scale.

    None if the picture is no such grid.
    """
    pitch, scale = image_size + PADDING_PIXELS, _scale_of(grid, columns, image_size)
    if scale is None:
        return None
    small = torch.from_numpy(np.array(grid.convert("RGB"))[::scale, ::scale]).permute(2, 0, 1)
    inner = small[:, PADDING_PIXELS:, PADDING_PIXELS:]
    tiles = inner.unfold(1, pitch, pitch).unfold(2, pitch, pitch)  # (3, columns, columns, p, p)
    return tiles[..., :image_size, :image_size].permute(1, 2, 0, 3, 4).flatten(0, 1).contiguous()


def _scale_of(grid: Image.Image, columns: int, image_size: int) -> int | None:
    """The scale of a square `image_grid`; None if the picture is no such grid."""
    plain = columns * (image_size + PADDING_PIXELS) + PADDING_PIXELS
    scale, rest = divmod(grid.width, plain)
    return None if rest or grid.width != grid.height else scale


def grid_scale(image_size: int, tile_pixels: int = 128) -> int:
    """Enlargement that makes a grid of small images easy to look at."""
    return max(1, tile_pixels // image_size)


def side_by_side(pictures: Sequence[Image.Image], titles: Sequence[str]) -> Image.Image:
    """Put pictures next to each other with a title above each."""
    title_height, gap = 24, 16
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    height = max(picture.height for picture in pictures) + title_height
    canvas = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    left = 0
    for picture, title in zip(pictures, titles, strict=True):
        draw.text((left + 4, 5), title, fill=(0, 0, 0), font_size=14)
        canvas.paste(picture, (left, title_height))
        left += picture.width + gap
    return canvas


def read_picture(path: Path) -> Image.Image | None:
    """A picture from a file, in RGB; None if the file is missing or damaged."""
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, SyntaxError):  # the latter for a damaged PNG
        return None


def lightly_compressed(picture: Image.Image) -> Image.Image:
    """The same picture, which a library that saves it as PNG compresses as `save_picture` does."""
    picture.save = partial(picture.save, compress_level=COMPRESS_LEVEL)  # type: ignore[method-assign]
    return picture


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a PNG atomically. Light compression is several times faster and a tenth larger."""
    about = PngInfo()
    about.add_text("Software", MADE_BY)
    options: dict[str, Any] = {"format": "PNG", "compress_level": COMPRESS_LEVEL, "pnginfo": about}
    write_atomic(path, lambda file: picture.save(file, **options))


def save_figure(figure: Figure, path: Path) -> None:
    """Write a plot of matplotlib as a PNG atomically."""
    options: dict[str, Any] = {"format": "png", "dpi": 110, "metadata": {"Software": MADE_BY}}
    write_atomic(path, lambda file: figure.savefig(file, **options))


def save_animation(frames: Sequence[Image.Image], path: Path) -> None:
    """Write a looping GIF atomically. The last frame stays for a second.

    All frames share 256 colours, those of a small copy of the last one, because choosing a palette
    is slow.
    """
    durations = [FRAME_MS] * (len(frames) - 1) + [1000]
    small = frames[-1].copy()
    small.thumbnail((PALETTE_PIXELS, PALETTE_PIXELS), Image.Resampling.NEAREST)  # no new colours
    colours = small.quantize(256)
    first, *rest = [frame.quantize(palette=colours) for frame in frames]
    options: dict[str, Any] = {"format": "GIF", "save_all": True, "append_images": rest, "loop": 0}
    options |= {"duration": durations, "comment": MADE_BY}
    write_atomic(path, lambda file: first.save(file, **options))


def is_own(picture: Image.Image) -> bool:
    """Whether one of these functions wrote the file of an opened picture."""
    comment = picture.info.get("comment")
    return picture.info.get("Software") == MADE_BY or comment == MADE_BY.encode()
