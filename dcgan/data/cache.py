"""What a warm start reads from disk: which files hold which content, and the decoded pixels.

Files below `cache_folder()/photos` are replaced atomically and checked when they are read. A
damaged or foreign file counts as missing.

- The stat index `index-KEY.json`, one per (root, classes), maps path, size and time of change to a
  digest, and a digest to width, height and the reason why the content is bad.
- A bank, `KEY.npy` + `KEY.json`, holds uint8 (N, 3, S, S) in the order of the digests, and its
  checksum. The key covers the digests (for toy cats: their definition), S and how pixels are made.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dcgan.data.decode import PREPROCESSING, PhotoFacts, Pixels
from dcgan.data.scan import PhotoFile
from dcgan.runtime.cache import cache_folder, read_checked_json, write_checked_json
from dcgan.runtime.files import write_atomic


class StatIndex(NamedTuple):
    """What earlier starts found about the files of one root."""

    files: dict[PhotoFile, str]
    """The digest of a file that still has this path, size and time of change."""
    contents: dict[str, PhotoFacts]
    """By digest, so that a renamed, moved or touched file is still known."""


def index_path(root: Path, classes: Sequence[str] | None) -> Path:
    """Path of the index of these photos."""
    what = [os.path.realpath(root), None if classes is None else sorted(set(classes))]
    return _path("index-", json.dumps(what), ".json")


def read_index(path: Path) -> StatIndex:
    """The stored index, or an empty one."""
    body = read_checked_json(path)
    with suppress(KeyError, TypeError, ValueError):
        if body["version"] == PREPROCESSING:  # another Pillow may read other files
            paths, sizes, times, digests = body["files"]
            files = dict(zip(map(PhotoFile, paths, sizes, times), digests, strict=True))
            contents = [PhotoFacts(*facts) for facts in zip(*body["contents"], strict=True)]
            return StatIndex(files, {facts.digest: facts for facts in contents})
    return StatIndex({}, {})


def write_index(path: Path, index: StatIndex) -> None:
    """Store an index. Raises `OSError` if the cache folder cannot be written."""
    # One list per column, because 20,000 short lists are several times slower to read.
    files = [*zip(*index.files, strict=True), [*index.files.values()]]
    contents = [*zip(*index.contents.values(), strict=True)]
    write_checked_json(path, {"version": PREPROCESSING, "files": files, "contents": contents})


def bank_path(fingerprint: str, image_size: int) -> Path:
    """Path of the bank of these photos at this size."""
    return _path("", f"{fingerprint} {image_size} {PREPROCESSING}", ".npy")


def read_images(path: Path, count: int, image_size: int) -> Pixels | None:
    """The stored bank, uint8 (count, 3, S, S), or None if it is absent or damaged."""
    about = read_checked_json(path.with_suffix(".json"))
    try:
        # Mapped, so that the processes of a study share one copy. Mode "c": writes stay private.
        content = np.asarray(np.memmap(path, np.uint8, "c"))
    except (OSError, ValueError):
        return None
    if about != _about(count, image_size, content.size, zlib.crc32(content.data)):
        return None
    shape = (count, 3, image_size, image_size)
    return content[content.size - int(np.prod(shape)) :].reshape(shape)  # behind the npy header


def write_images(path: Path, images: Pixels) -> None:
    """Store a bank, uint8 (N, 3, S, S), C-contiguous; raises `OSError` like `write_index`."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(images))
    start = header.getvalue()
    write_atomic(path, lambda file: file.writelines((start, images.data)))
    crc32 = zlib.crc32(images.data, zlib.crc32(start))
    about = _about(len(images), images.shape[-1], len(start) + images.nbytes, crc32)
    write_checked_json(path.with_suffix(".json"), about)


def _about(count: int, image_size: int, size: int, crc32: int) -> dict[str, int | str]:
    return {
        "count": count,
        "image_size": image_size,
        "preprocessing": PREPROCESSING,
        "bytes": size,
        "crc32": crc32,
    }


def _path(kind: str, key: str, suffix: str) -> Path:
    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    return cache_folder() / "photos" / f"{kind}{name}{suffix}"
