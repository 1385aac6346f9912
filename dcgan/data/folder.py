"""A folder of photos: which files it holds, what is known of each, and their pixels.

A file is opened only if its size or time changed since an earlier start. Pixels are decoded only
if the cache has no bank of this content and size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dcgan.data.cache import (
    StatIndex,
    bank_path,
    index_path,
    read_images,
    read_index,
    write_images,
    write_index,
)
from dcgan.data.decode import OWN_PICTURE, PhotoFacts, Pixels, too_small
from dcgan.data.scan import BadFile, PhotoFile, scan_photos
from dcgan.data.threads import in_threads, read_photos
from dcgan.runtime.cache import cache_folder

_UNKNOWN = PhotoFacts("", 0, 0, "not read")


@dataclass(slots=True)
class Photo:
    """A scanned file and what is known of its content."""

    row: int
    """Its position among the scanned files."""
    file: PhotoFile
    facts: PhotoFacts = _UNKNOWN


class Folder:
    """The photos below `root`, or below its folders `classes` only, for one image size.

    `load` and `identify` set `usable` (by digest, equal ones by path), `bad` and `fingerprint`;
    `load` also sets `from_cache` and `note` (see `PhotoBank`). `others` are no images by name,
    `own` counts the pictures that this program made, and `damaged` are usable photos.
    Raises `DataError` if `root` is not a readable folder or a class folder does not exist.
    """

    def __init__(self, root: Path, classes: tuple[str, ...] | None, image_size: int) -> None:
        self.root, self.image_size = root, image_size
        scan = scan_photos(root, classes)
        self.others, self._unreadable, self._own = scan.others, scan.bad, scan.own
        self.holds_images = bool(scan.files or scan.bad)  # by name, readable or not
        self._photos = [Photo(row, file) for row, file in enumerate(scan.files)]
        self._index_path = index_path(root, classes)
        self._index = read_index(self._index_path)
        self.usable: list[Photo] = []
        self.bad: list[BadFile] = []
        self.damaged: list[BadFile] = []
        self.own = self._own
        self.fingerprint, self.note, self.from_cache = "", "", False

    def load(self, on_progress: Callable[[int, int], None]) -> Pixels:
        """The pixels, uint8 RGB (N, 3, S, S), in the order of `usable`. The cache is updated.

        `on_progress` is called with (files done, files in all) from this thread.
        """
        self._recall()
        images = None
        if not any(photo.facts is _UNKNOWN for photo in self._photos):
            self._sort()
            path = bank_path(self.fingerprint, self.image_size)
            images = read_images(path, len(self.usable), self.image_size)
        self.from_cache = images is not None
        if images is None:
            images = self._decode(on_progress)
        on_progress(len(self._photos), len(self._photos))
        self.note = self._save(images)
        return images

    def identify(self) -> str:
        """The fingerprint. Only what the cache does not know is read, and nothing is written."""
        self._recall()
        for _ in self._read([photo for photo in self._photos if photo.facts is _UNKNOWN]):
            pass
        self._sort()
        return self.fingerprint

    def _recall(self) -> None:
        """Look up every file in the index. A changed file is hashed: it may only have moved."""
        digests, known = self._index
        for photo in self._photos:
            photo.facts = known.get(digests.get(photo.file, ""), _UNKNOWN)
        if known:  # at a first start the decoder hashes what it reads anyway
            changed = [photo for photo in self._photos if photo.file not in digests]
            for photo, digest in zip(changed, in_threads(self._hash, changed), strict=True):
                photo.facts = known.get(digest, _UNKNOWN)

    def _hash(self, photo: Photo) -> str:
        try:
            with (self.root / photo.file.path).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:  # the decoder will say why
            return ""

    def _decode(self, on_progress: Callable[[int, int], None]) -> Pixels:
        """Decode all files except those known to be bad."""
        total = len(self._photos)
        wanted = [one for one in self._photos if one.facts is _UNKNOWN or not self._fault(one)]
        images = np.empty((total, 3, self.image_size, self.image_size), np.uint8)
        # Closing stops the threads at once if on_progress raises, such as on Ctrl-C.
        with closing(self._read(wanted)) as results:
            for done, (photo, pixels) in enumerate(results):
                on_progress(done, total)
                if pixels is not None:
                    images[photo.row] = pixels
        self._sort()
        return _arrange(images, [photo.row for photo in self.usable])

    def _read(self, photos: list[Photo]) -> Generator[tuple[Photo, Pixels | None], None, None]:
        """Read photos in threads and note the facts of each before it is yielded."""
        paths = [self.root / photo.file.path for photo in photos]
        with closing(read_photos(paths, self.image_size)) as results:
            for photo, (facts, pixels) in zip(photos, results, strict=True):
                photo.facts = facts
                yield photo, pixels

    def _fault(self, photo: Photo) -> str:
        facts = photo.facts
        return facts.reason or too_small(facts.width, facts.height, self.image_size)

    def _sort(self) -> None:
        """Tell usable photos from bad ones, once the facts of all are known."""
        self.bad, self.usable, self.damaged, self.own = list(self._unreadable), [], [], self._own
        for photo in self._photos:
            fault = self._fault(photo)
            if not fault and photo.facts.damage:
                self.damaged.append(BadFile(photo.file.path, photo.facts.damage))
            if fault == OWN_PICTURE:
                self.own += 1
            elif fault:
                self.bad.append(BadFile(photo.file.path, fault))
            else:
                self.usable.append(photo)
        self.usable.sort(key=lambda photo: (photo.facts.digest, photo.file.path))
        digests = "".join(f"{photo.facts.digest}\n" for photo in self.usable)
        self.fingerprint = hashlib.sha256(digests.encode()).hexdigest()

    def _save(self, images: Pixels) -> str:
        """Store what is new. Without a cache the next start only takes longer: hence a note."""
        facts = {photo.file: photo.facts for photo in self._photos if photo.facts.digest}
        digests = {file: known.digest for file, known in facts.items()}
        index = StatIndex(digests, {known.digest: known for known in facts.values()})
        try:
            if self.usable and not self.from_cache:
                write_images(bank_path(self.fingerprint, self.image_size), images)
            if index != self._index:
                write_index(self._index_path, index)
        except OSError as error:
            return (
                f"the decoded photos could not be kept in {cache_folder()} ({error.strerror}), so "
                "the next start decodes them again; set DCGAN_CACHE to a folder that can be written"
            )
        return ""


def _arrange(images: Pixels, order: Sequence[int]) -> Pixels:
    """`images[order]`, in place: a copy would double the memory of a large bank."""
    for row, source in enumerate(order):
        while source < row:  # an earlier swap moved the image from there to order[source]
            source = order[source]
        kept = images[row].copy()
        images[row] = images[source]
        images[source] = kept
    return images[: len(order)]
