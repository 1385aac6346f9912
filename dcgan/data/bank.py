"""Photos on disk → one bank of uint8 RGB images `(N, 3, S, S)`.

The **fingerprint** of a set of photos is the sha256 of the sorted sha256 digests of its usable
files, in hex, one per line: not of the pixels, which vary between decoders. For a folder of good
photos `find DIR -type f -exec sha256sum {} + | cut -c1-64 | LC_ALL=C sort | sha256sum` prints it.
A bank is sorted by these digests, equal ones by path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from dcgan.config.train_config import DataConfig, TrainConfig
from dcgan.data.cache import bank_path, read_images, write_images
from dcgan.data.folder import Folder
from dcgan.data.formats import SUFFIXES, remedy_for, unread_suffixes
from dcgan.data.scan import BadFile
from dcgan.data.toy_cats import draw_toy_cats, toy_cats_fingerprint
from dcgan.errors import ConfigError, DataError

_REASONS_SHOWN = 3


@dataclass(frozen=True, eq=False)
class PhotoBank:
    """All photos of a run, ready to train on."""

    images: torch.Tensor
    """uint8 RGB (N, 3, S, S) on the CPU."""
    fingerprint: str
    """Identifies the content of the photos (hex)."""
    names: tuple[str, ...]
    """Where each photo came from, relative to the root, in bank order."""
    sizes: tuple[tuple[int, int], ...]
    """Original (width, height) of each upright photo in pixels, in bank order."""
    from_cache: bool
    """Whether the pixels came from the cache."""
    bad: tuple[BadFile, ...] = ()
    """Image files that cannot be used, sorted by path."""
    damaged: tuple[BadFile, ...] = ()
    """Photos that are used although something beside their pixels is damaged, sorted by path."""
    unread: Mapping[str, int] = field(default_factory=dict)
    """Number of files below the root that no format here is for, by suffix."""
    own: int = 0
    """Number of pictures below the root that this program made, which are left out."""
    note: str = ""
    """What the user should know, such as a cache that cannot be written; usually empty."""

    @property
    def ignored(self) -> int:
        """Number of files below the root that no format here is for."""
        return sum(self.unread.values())

    def trained_on(self, holdout_fraction: float) -> int:
        """How many photos are left to train on; raises as `split`."""
        return len(self.split(holdout_fraction)[0].images)

    def split(self, holdout_fraction: float) -> tuple[PhotoBank, PhotoBank | None]:
        """The photos to train on and the held-out ones (None at 0), both with this fingerprint.

        The first photos are held out: a bank is sorted by digest, so they are a random sample that
        is the same on every machine. Raises `DataError` if fewer than 2 photos are held out.
        """
        if holdout_fraction == 0.0:
            return self, None
        count = round(holdout_fraction * len(self.images))
        if count < 2:
            raise DataError(
                f"data.holdout_fraction {holdout_fraction} of {len(self.images)} photos holds out "
                f"{count}, and at least 2 are needed; raise it, or set it to 0"
            )

        def part(rows: slice) -> PhotoBank:
            images, names, sizes = self.images[rows], self.names[rows], self.sizes[rows]
            return replace(self, images=images, names=names, sizes=sizes)

        return part(slice(count, None)), part(slice(count))


def load_bank(
    config: DataConfig,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    minimum: int = 2,
) -> PhotoBank:
    """Load (or draw) the photos as one bank.

    `config` says which photos, and their side S in pixels. `on_progress` is called with (files
    done, files in all) from this thread. Raises `ConfigError` if no photos are named, and
    `DataError` if a folder cannot be read or fewer than `minimum` photos are usable.
    """
    load = _draw_toy_cats if config.source == "toy_cats" else _load_photos
    bank = load(config, on_progress or (lambda done, total: None))
    if len(bank.images) < minimum:
        raise DataError(_too_few(config, bank, minimum))
    return bank


def fingerprint_of(config: DataConfig) -> str:
    """The fingerprint of `load_bank`, which raises the same errors. Nothing is written.

    A folder with too few usable photos is accepted here.
    """
    if config.source == "toy_cats":
        return toy_cats_fingerprint(config.toy_count, config.image_size, config.toy_seed)
    return _open_folder(config).identify()


def _draw_toy_cats(config: DataConfig, report: Callable[[int, int], None]) -> PhotoBank:
    count, size, seed = config.toy_count, config.image_size, config.toy_seed
    fingerprint = toy_cats_fingerprint(count, size, seed)
    kept = bank_path(fingerprint, size)
    images = read_images(kept, count, size)
    from_cache = images is not None
    if images is None:
        images = draw_toy_cats(count, size, seed, lambda done: report(done, count))
        with suppress(OSError):  # without a cache, the next start draws them again
            write_images(kept, images)
    report(count, count)
    names = tuple(f"toy-cat-{number:06d}" for number in range(count))
    sizes = ((size, size),) * count
    return PhotoBank(torch.from_numpy(images), fingerprint, names, sizes, from_cache)


def _load_photos(config: DataConfig, report: Callable[[int, int], None]) -> PhotoBank:
    folder = _open_folder(config)
    images = folder.load(report)
    facts = [folder.facts[file] for file in folder.usable]
    return PhotoBank(
        images=torch.from_numpy(images),
        fingerprint=folder.fingerprint,
        names=tuple(_printable(file.path) for file in folder.usable),
        sizes=tuple((one.width, one.height) for one in facts),
        bad=_sorted(folder.bad),
        damaged=_sorted(folder.damaged),
        from_cache=folder.from_cache,
        unread=unread_suffixes(folder.others),
        own=folder.own,
        note=folder.note,
    )


def _sorted(files: list[BadFile]) -> tuple[BadFile, ...]:
    shown = [BadFile(_printable(file.path), file.reason) for file in files]
    return tuple(sorted(shown, key=lambda file: file.path))


def _open_folder(config: DataConfig) -> Folder:
    if config.root is None:
        raise ConfigError(
            "no photos given: pass --data DIR or set data.root (or data.source: toy_cats)"
        )
    folder = Folder(config.root.expanduser(), config.classes, config.image_size)
    if not folder.holds_images:
        count = len(folder.others)
        example = f", such as {_printable(folder.others[0])}" if count else ""
        kinds = " ".join(sorted(suffix.removeprefix(".") for suffix in SUFFIXES))
        remedy = remedy_for(unread_suffixes(folder.others))
        raise DataError(
            f"{_where(folder.root, config.classes)} holds no images "
            f"({_counted(count, 'other file')}{example}); photos are files ending in {kinds}"
            f"{remedy}"
        )
    return folder


def _printable(path: str) -> str:
    """A path that can be shown and stored anywhere: no odd bytes, no control characters."""
    parts = (one if one.isprintable() else ascii(one)[1:-1] for one in path)
    return "".join(parts)


def _where(root: Path | None, classes: tuple[str, ...] | None) -> str:
    return f"{root} (classes: {', '.join(classes)})" if classes else str(root)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _too_few(config: DataConfig, bank: PhotoBank, minimum: int) -> str:
    usable = len(bank.images)
    if config.source == "toy_cats":
        return f"{usable} toy cats are too few: set data.toy_count to {minimum} or more"
    own = f" beside {_counted(bank.own, 'picture')} that this program made" if bank.own else ""
    problem = (
        f"{_where(config.root, config.classes)} holds {_counted(usable, 'usable photo')}{own}, and "
        f"at least {minimum} are needed"
    )
    if not bank.bad:
        return f"{problem}; add photos or use another folder"
    first = "; ".join(f"{file.path}: {file.reason}" for file in bank.bad[:_REASONS_SHOWN])
    more = "; …" if len(bank.bad) > _REASONS_SHOWN else ""
    return (
        f"{problem}; {len(bank.bad)} more could not be used ({first}{more}); "
        "repair or replace them, or add photos"
    )


def check_enough_photos(bank: PhotoBank, config: TrainConfig, batch_size: int = 0) -> None:
    """Raise `DataError` for fewer training photos than a batch (0: `train.batch_size`)."""
    photos, holdout = bank.split(config.data.holdout_fraction)
    count, batch_size = len(photos.images), batch_size or config.train.batch_size
    if count < batch_size:
        held_out = f" ({len(holdout.images)} more are held out)" if holdout else ""
        raise DataError(
            f"{count} photos{held_out} are fewer than one batch of {batch_size}; add photos or set "
            f"train.batch_size to at most {count}"
        )
