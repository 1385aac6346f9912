"""A scanned folder → pixels: from the cache where nothing changed, else decoded in threads."""

from __future__ import annotations

import contextlib
import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from dcgan.data.cache import (
    StatIndex,
    bank_path,
    index_path,
    make_index,
    read_images,
    read_index,
    write_images,
    write_index,
)
from dcgan.data.decode import PhotoFacts, Pixels, quiet_pillow, read_photo, too_small
from dcgan.data.scan import BadFile, PhotoFile
from dcgan.runtime.cache import cache_folder
from dcgan.runtime.devices import processors

OnProgress = Callable[[int, int], None]
ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class LoadedFolder:
    """The usable photos in bank order, and the files that are none."""

    images: Pixels
    """uint8 RGB (N, 3, S, S)."""
    facts: list[PhotoFacts]
    paths: list[str]
    bad: list[BadFile]
    from_cache: bool
    note: str


def fingerprint(digests: Iterable[str]) -> str:
    """sha256 (hex) of the sorted digests (hex), each followed by a line feed."""
    lines = "".join(f"{digest}\n" for digest in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()


def load_folder(
    root: Path,
    classes: Sequence[str] | None,
    files: Sequence[PhotoFile],
    image_size: int,
    on_progress: OnProgress,
) -> LoadedFolder:
    """Load the pixels of scanned files and remember what was learnt about them.

    A file is opened only if its size or time changed since an earlier start; pixels are decoded
    only if no bank of this content and size is in the cache.
    """
    index_file = index_path(root, classes)
    index = read_index(index_file)
    known = _recall(root, files, index)
    images: Pixels | None = None
    if None not in known:
        facts = [one for one in known if one is not None]
        order = _bank_order(files, facts, image_size)
        images = read_images(_bank_path(facts, order, image_size), len(order), image_size)
    from_cache = images is not None
    if images is None:
        facts, images = _decode(root, files, known, image_size, on_progress)
        order = _bank_order(files, facts, image_size)
        images = _arrange(images, order)
    on_progress(len(files), len(files))
    fresh = make_index(files, facts)
    bank_file = None if from_cache or not order else _bank_path(facts, order, image_size)
    note = _save(index_file, fresh if fresh != index else None, bank_file, images)
    kept = [facts[i] for i in order]
    bad = _bad_files(files, facts, image_size)
    return LoadedFolder(images, kept, [files[i].path for i in order], bad, from_cache, note)


def read_fingerprint(
    root: Path, classes: Sequence[str] | None, files: Sequence[PhotoFile], image_size: int
) -> str:
    """The fingerprint of scanned files. Only what the cache does not know is read; nothing is
    written."""
    facts = _recall(root, files, read_index(index_path(root, classes)))
    todo = [i for i, one in enumerate(facts) if one is None]
    with quiet_pillow():
        for i, (found, _) in zip(
            todo,
            in_threads(lambda i: read_photo(root / files[i].path, image_size), todo),
            strict=True,
        ):
            facts[i] = found
    known = [one for one in facts if one is not None]
    return fingerprint(known[i].digest for i in _bank_order(files, known, image_size))


def _recall(root: Path, files: Sequence[PhotoFile], index: StatIndex) -> list[PhotoFacts | None]:
    """What is known of each file; changed ones are hashed, as they may only have been moved."""
    digests = [index.digest_of(file) for file in files]
    if index.contents:  # at a first start the decoder hashes what it reads anyway
        changed = [i for i, digest in enumerate(digests) if digest is None]
        hashes = in_threads(lambda i: _hash_file(root / files[i].path), changed)
        for i, digest in zip(changed, hashes, strict=True):
            digests[i] = digest
    return [index.contents.get(digest) if digest else None for digest in digests]


def _hash_file(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:  # the decoder will say why
        return None


def _bank_order(
    files: Sequence[PhotoFile], facts: Sequence[PhotoFacts], image_size: int
) -> list[int]:
    """Positions of the usable files, by digest and then path."""
    usable = [i for i, one in enumerate(facts) if not _fault(one, image_size)]
    return sorted(usable, key=lambda i: (facts[i].digest, files[i].path))


def _fault(facts: PhotoFacts, image_size: int) -> str:
    return facts.reason or too_small(facts.width, facts.height, image_size)


def _bad_files(
    files: Sequence[PhotoFile], facts: Sequence[PhotoFacts], image_size: int
) -> list[BadFile]:
    faults = [_fault(one, image_size) for one in facts]
    return [BadFile(file.path, fault) for file, fault in zip(files, faults, strict=True) if fault]


def _bank_path(facts: Sequence[PhotoFacts], order: Sequence[int], image_size: int) -> Path:
    return bank_path(fingerprint(facts[i].digest for i in order), image_size)


def _decode(
    root: Path,
    files: Sequence[PhotoFile],
    known: Sequence[PhotoFacts | None],
    image_size: int,
    on_progress: OnProgress,
) -> tuple[list[PhotoFacts], Pixels]:
    """Decode all files but those known to be bad; the images are in the order of `files`."""
    facts = [one or PhotoFacts("", 0, 0, "not read") for one in known]
    todo = [i for i, one in enumerate(known) if one is None or not _fault(one, image_size)]
    images = np.empty((len(files), 3, image_size, image_size), np.uint8)
    results = in_threads(lambda i: read_photo(root / files[i].path, image_size), todo)
    # Closing stops the threads at once if on_progress raises, such as on Ctrl-C.
    with quiet_pillow(), contextlib.closing(results):
        for done, (i, (found, pixels)) in enumerate(zip(todo, results, strict=True)):
            on_progress(done, len(files))
            facts[i] = found
            if pixels is not None:
                images[i] = pixels
    return facts, images


def in_threads(
    function: Callable[[ItemT], ResultT], items: Sequence[ItemT]
) -> Generator[ResultT, None, None]:
    """Like `map`, in as many threads as processors, with a bounded number of results in memory."""
    threads = processors()
    waiting: deque[Future[ResultT]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="photos")
    try:
        for item in items:
            waiting.append(pool.submit(partial(function, item)))
            if len(waiting) > 4 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _arrange(images: Pixels, order: Sequence[int]) -> Pixels:
    """`images[order]`, in place: a copy would double the memory of a large bank."""
    unused = sorted(set(range(len(images))).difference(order))
    source = [*order, *unused]  # row i is to become the old row source[i]
    moved = [False] * len(source)
    for start in range(len(source)):
        if moved[start]:
            continue
        first, here = images[start].copy(), start
        while source[here] != start:  # follow the cycle of rows that take each other's place
            images[here] = images[source[here]]
            moved[here], here = True, source[here]
        images[here], moved[here] = first, True
    return images[: len(order)]


def _save(index_file: Path, index: StatIndex | None, bank_file: Path | None, images: Pixels) -> str:
    """Store what is new; a cache that cannot be written only costs time, so it becomes a note."""
    try:
        if bank_file is not None:
            write_images(bank_file, images)
        if index is not None:
            write_index(index_file, index)
    except OSError as error:
        return (
            f"the decoded photos could not be kept in {cache_folder()} ({error.strerror}), so the "
            "next start decodes them again; set DCGAN_CACHE to a folder that can be written"
        )
    return ""
