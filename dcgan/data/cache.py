"""What a warm start reads from disk: which files hold which content, and the decoded pixels.

Two kinds of files lie below `cache_folder()/photos`. Both are replaced atomically and checked when
they are read. A damaged or foreign file counts as missing.

- The stat index `index-KEY.json`, one per (root, classes), maps a path to size, time of change and
  digest, and a digest to width, height and the reason why the content is bad.
- A bank, `KEY.npy` + `KEY.json`, holds uint8 (N, 3, S, S) in the order of the digests, and its
  checksum. The key covers the digests (for toy cats: their definition), S and how pixels are made,
  so folders of equal content share one bank.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from dcgan.data.decode import PREPROCESSING, PhotoFacts, Pixels
from dcgan.data.scan import PhotoFile
from dcgan.runtime.cache import cache_folder, read_checked_json, write_checked_json
from dcgan.runtime.files import write_atomic


class _Seen(NamedTuple):
    size: int
    mtime_ns: int
    digest: str


@dataclass
class StatIndex:
    """What earlier starts found out about the files of one root."""

    files: dict[str, _Seen] = field(default_factory=dict)
    """By path relative to the root."""
    contents: dict[str, PhotoFacts] = field(default_factory=dict)
    """By digest, so that a renamed, moved or touched file is still known."""

    def digest_of(self, file: PhotoFile) -> str | None:
        """The file's digest if it has not changed since it was read."""
        seen = self.files.get(file.path)
        same = seen is not None and (seen.size, seen.mtime_ns) == (file.size, file.mtime_ns)
        return seen.digest if seen is not None and same else None


def make_index(photos: Iterable[tuple[PhotoFile, PhotoFacts]]) -> StatIndex:
    """An index of exactly these files. Files that could not be read are left out."""
    index = StatIndex()
    for file, known in photos:
        if known.digest:
            index.files[file.path] = _Seen(file.size, file.mtime_ns, known.digest)
            index.contents[known.digest] = known
    return index


def index_path(root: Path, classes: Sequence[str] | None) -> Path:
    """Path of the index of these photos."""
    what = [os.path.realpath(root), None if classes is None else sorted(set(classes))]
    return _photos_folder() / f"index-{_short_hash(json.dumps(what))}.json"


def read_index(path: Path) -> StatIndex:
    """The stored index, or an empty one."""
    body = read_checked_json(path)
    try:
        if body["version"] != PREPROCESSING:  # another Pillow may read other files
            return StatIndex()
        paths, *seen = body["files"]
        files = dict(zip(paths, map(_Seen._make, zip(*seen, strict=True)), strict=True))
        facts = zip(*body["contents"], strict=True)
        contents = {known.digest: known for known in map(PhotoFacts._make, facts)}
    except (KeyError, TypeError, ValueError):
        return StatIndex()
    return StatIndex(files, contents)


def write_index(path: Path, index: StatIndex) -> None:
    """Store an index.

    Raises:
        OSError: the cache folder cannot be written.
    """
    # One list per column: 20,000 short lists would make reading several times slower.
    files = [list(index.files), *zip(*index.files.values(), strict=True)]
    contents = [*zip(*index.contents.values(), strict=True)]
    write_checked_json(path, {"version": PREPROCESSING, "files": files, "contents": contents})


def bank_path(fingerprint: str, image_size: int) -> Path:
    """Path of the bank of these photos at this size."""
    return _photos_folder() / f"{_short_hash(f'{fingerprint} {image_size} {PREPROCESSING}')}.npy"


def read_images(path: Path, count: int, image_size: int) -> Pixels | None:
    """The stored bank, uint8 (count, 3, S, S), or None if it is absent or damaged."""
    about = read_checked_json(path.with_suffix(".json"))
    wanted = {"count": count, "image_size": image_size, "preprocessing": PREPROCESSING}
    if not isinstance(about, dict) or any(about.get(key) != wanted[key] for key in wanted):
        return None
    try:
        if path.stat().st_size != about["bytes"]:
            return None
        # Mapped, so that the processes of a study share one copy. Mode "c" keeps what the caller
        # writes in the caller's memory.
        content = np.asarray(np.memmap(path, np.uint8, "c"))
    except (OSError, ValueError):
        return None
    if zlib.crc32(content.data) != about["crc32"]:
        return None
    shape = (count, 3, image_size, image_size)
    return content[content.size - int(np.prod(shape)) :].reshape(shape)  # behind the npy header


def write_images(path: Path, images: Pixels) -> None:
    """Store a bank, uint8 (N, 3, S, S), C-contiguous.

    Raises:
        OSError: the cache folder cannot be written.
    """
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(images))
    start = header.getvalue()

    def write(file: BinaryIO) -> None:
        file.write(start)
        file.write(images.data)

    write_atomic(path, write)
    about = {
        "count": images.shape[0],
        "image_size": images.shape[-1],
        "preprocessing": PREPROCESSING,
        "bytes": len(start) + images.nbytes,
        "crc32": zlib.crc32(images.data, zlib.crc32(start)),
    }
    write_checked_json(path.with_suffix(".json"), about)


def _photos_folder() -> Path:
    return cache_folder() / "photos"


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
