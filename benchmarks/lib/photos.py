"""The photos of a benchmark: the folder that was named, or toy cats written as JPEGs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from dcgan.data.toy_cats import draw_toy_cats

TOY_COUNT, TOY_SIDE = 527, 128


@contextmanager
def photo_folder(given: Path | None, toys: int = TOY_COUNT) -> Iterator[str]:
    """The absolute path of a folder of photos; without one, of a temporary folder of toy cats."""
    if given is not None:
        yield str(given.resolve())
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve() / "toy" / "cat"
        folder.mkdir(parents=True)
        for index, image in enumerate(draw_toy_cats(toys, TOY_SIDE, 0)):
            Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{index:04d}.jpg", quality=90)
        yield str(folder.parent)
