"""A folder of photos: which files it holds, what is known about each, and their pixels.

A file is opened only if its size or time changed since an earlier start. Pixels are decoded only
if the cache has no bank of this content and size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dcgan.data import cache
from dcgan.data.decode import OWN_PICTURE, PhotoFacts, Pixels, too_small
from dcgan.data.scan import BadFile, PhotoFile, scan_photos
from dcgan.data.threads import in_threads, read_photos
from dcgan.runtime.cache import cache_folder


class Folder:
    """The photos below `root`, or below its folders `classes` only, for one image size.

    `load` and `identify` set `facts`, `usable` (by digest, equal ones by path), `bad`, `damaged`
    (usable ones), `own` (the number of pictures that this program made) and `fingerprint`; `load`
    also sets `from_cache` and `note` (see `PhotoBank`). `others` are no images by name. Raises
    `DataError` if `root` is not a readable folder or a class folder does not exist.
    """

    def __init__(self, root: Path, classes: tuple[str, ...] | None, image_size: int) -> None:
        self.root, self.image_size = root, image_size
        scan = scan_photos(root, classes)
        self.others, self._files, self._unreadable = scan.others, scan.files, scan.bad
        self._own = self.own = scan.own
        self.holds_images = bool(scan.files or scan.bad)  # by name, readable or not
        self._index_path = cache.index_path(root, classes)
        self._index = cache.read_index(self._index_path)
        self.facts: dict[PhotoFile, PhotoFacts] = {}
        self.usable: list[PhotoFile] = []
        self.bad: list[BadFile] = []
        self.damaged: list[BadFile] = []
        self.fingerprint, self.note, self.from_cache = "", "", False

    def load(self, on_progress: Callable[[int, int], None]) -> Pixels:
        """The pixels, uint8 RGB (N, 3, S, S), in the order of `usable`. The cache is updated.

        `on_progress` is called with (files done, files in all) from this thread.
        """
        self._recall()
        images = None
        if len(self.facts) == len(self._files):
            self._sort()
            path = cache.bank_path(self.fingerprint, self.image_size)
            images = cache.read_images(path, len(self.usable), self.image_size)
        self.from_cache = images is not None
        if images is None:
            images = self._decode(on_progress)
        on_progress(len(self._files), len(self._files))
        self.note = self._save(images)
        return images

    def identify(self) -> str:
        """The fingerprint. Only what the cache does not know is read, and nothing is written."""
        self._recall()
        unknown = [file for file in self._files if file not in self.facts]
        with read_photos([self.root / file.path for file in unknown], self.image_size) as results:
            for file, (facts, _) in zip(unknown, results, strict=True):
                self.facts[file] = facts
        self._sort()
        return self.fingerprint

    def _recall(self) -> None:
        """Look up every file in the index. A changed file is hashed: it may only have moved."""
        digests, known = self._index
        if known:  # at a first start the decoder hashes what it reads anyway
            changed = [file for file in self._files if file not in digests]
            with in_threads(self._hash, changed) as results:
                digests = digests | dict(zip(changed, results, strict=True))
        found = {file: known.get(digests.get(file, "")) for file in self._files}
        self.facts = {file: facts for file, facts in found.items() if facts is not None}

    def _hash(self, photo: PhotoFile) -> str:
        try:
            with (self.root / photo.path).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:  # the decoder will say why
            return ""

    def _decode(self, on_progress: Callable[[int, int], None]) -> Pixels:
        """Decode all files except those known to be bad."""
        total, rows = len(self._files), {file: row for row, file in enumerate(self._files)}
        wanted = [file for file in rows if file not in self.facts or not self._fault(file)]
        images = np.empty((total, 3, self.image_size, self.image_size), np.uint8)
        with read_photos([self.root / file.path for file in wanted], self.image_size) as results:
            for done, (file, (facts, pixels)) in enumerate(zip(wanted, results, strict=True)):
                on_progress(done, total)
                self.facts[file] = facts
                if pixels is not None:
                    images[rows[file]] = pixels
        self._sort()
        return _arrange(images, [rows[file] for file in self.usable])

    def _fault(self, file: PhotoFile) -> str:
        facts = self.facts[file]
        return facts.reason or too_small(facts.width, facts.height, self.image_size)

    def _sort(self) -> None:
        """Separate usable photos from bad ones, once the facts of all are known."""
        faults = {file: self._fault(file) for file in self._files}
        self.own = self._own + list(faults.values()).count(OWN_PICTURE)
        bad = {file: fault for file, fault in faults.items() if fault and fault != OWN_PICTURE}
        self.bad = self._unreadable + [BadFile(file.path, fault) for file, fault in bad.items()]
        self.usable = [file for file in self._files if not faults[file]]
        self.usable.sort(key=lambda file: (self.facts[file].digest, file.path))
        damage = {file.path: self.facts[file].damage for file in self.usable}
        self.damaged = [BadFile(path, what) for path, what in damage.items() if what]
        digests = "".join(f"{self.facts[file].digest}\n" for file in self.usable)
        self.fingerprint = hashlib.sha256(digests.encode()).hexdigest()

    def _save(self, images: Pixels) -> str:
        """Store what is new. Without a cache the next start only takes longer, so it is a note."""
        digests = {file: facts.digest for file, facts in self.facts.items() if facts.digest}
        contents = {digest: self.facts[file] for file, digest in digests.items()}
        index = cache.StatIndex(digests, contents)
        try:
            if self.usable and not self.from_cache:
                cache.write_images(cache.bank_path(self.fingerprint, self.image_size), images)
            if index != self._index:
                cache.write_index(self._index_path, index)
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
