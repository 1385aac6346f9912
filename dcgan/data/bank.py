"""Photos on disk → one bank of uint8 RGB images `(N, 3, S, S)`.

The **fingerprint** of a set of photos is the sha256 of the sorted sha256 digests of its usable
files, in hex, each on a line. Names, folders and times don't count, nor do the decoded pixels,
which vary between versions of the decoder. For a folder of good photos it is what
`find DIR -type f -exec sha256sum {} + | cut -c1-64 | LC_ALL=C sort | sha256sum` prints.
The bank is in the order of the digests, equal ones by path.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dcgan.config.train_config import DataConfig, TrainConfig
from dcgan.data.cache import bank_path, read_images, write_images
from dcgan.data.folder import fingerprint, load_folder, read_fingerprint
from dcgan.data.scan import SUFFIXES, BadFile, Scan, scan_photos
from dcgan.errors import ConfigError, DataError

_REASONS_SHOWN = 3


@dataclass(frozen=True, eq=False)
class PhotoBank:
    """All photos of a run, ready to train on."""

    images: torch.Tensor
    """uint8 RGB (N, 3, S, S) on the CPU."""
    fingerprint: str
    """Names the content of the photos (hex), whatever they are called and wherever they lie."""
    names: tuple[str, ...]
    """Where each photo came from, relative to the root, in bank order."""
    sizes: tuple[tuple[int, int], ...]
    """Original (width, height) of each upright photo in pixels, in bank order."""
    bad: tuple[BadFile, ...]
    """Image files which cannot be used, by path."""
    from_cache: bool
    """The pixels came from the cache; nothing was decoded."""
    ignored: int = 0
    """Files below the root that are no images by name."""
    note: str = ""
    """Something the user should hear, such as a cache that cannot be written; else empty."""

    def split(self, holdout_fraction: float) -> tuple[PhotoBank, PhotoBank | None]:
        """The photos to train on, and those held out (none at 0), both under this fingerprint.

        A bank is in the order of its digests, so that its beginning is a random sample, the same
        on every machine, which changes little when photos are added.

        Raises:
            DataError: fewer than two photos would be held out, too few for a distance.
        """
        if holdout_fraction == 0.0:
            return self, None
        count = round(holdout_fraction * len(self.images))
        if count < 2:
            raise DataError(
                f"data.holdout_fraction {holdout_fraction} of {len(self.images)} photos holds out "
                f"{count}, and at least 2 are needed; raise it, or set it to 0"
            )
        return self._part(slice(count, None)), self._part(slice(count))

    def _part(self, rows: slice) -> PhotoBank:
        return replace(
            self, images=self.images[rows], names=self.names[rows], sizes=self.sizes[rows]
        )


def load_bank(
    config: DataConfig,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    minimum: int = 2,
) -> PhotoBank:
    """Load (or draw) the photos as one bank.

    Args:
        config: Which photos, and their size S.
        on_progress: Called with (files done, files in all) from this thread.
        minimum: The fewest usable photos that are accepted.

    Raises:
        ConfigError: no photos are named.
        DataError: the folder is missing or unreadable, a class folder does not exist, or fewer
            than `minimum` photos are usable; the message says what to do.
    """
    report = on_progress or (lambda done, total: None)
    if config.source == "toy_cats":
        bank = _draw_toy_cats(config, report)
    else:
        bank = _load_photos(config, report)
    if len(bank.images) < minimum:
        raise DataError(_too_few(config, bank, minimum))
    return bank


def fingerprint_of(config: DataConfig) -> str:
    """The fingerprint of the photos as `load_bank` would find them; nothing is kept or changed.

    Raises:
        ConfigError: no photos are named.
        DataError: the folder or a class folder is missing or unreadable, or holds no images.
    """
    if config.source == "toy_cats":
        from dcgan.data.toy_cats import toy_cats_fingerprint

        return toy_cats_fingerprint(config.toy_count, config.image_size, config.toy_seed)
    root, scan = _scan(config)
    return read_fingerprint(root, config.classes, scan.files, config.image_size)


def _draw_toy_cats(config: DataConfig, report: Callable[[int, int], None]) -> PhotoBank:
    from dcgan.data.toy_cats import draw_toy_cats, toy_cats_fingerprint

    count, size, seed = config.toy_count, config.image_size, config.toy_seed
    fingerprint = toy_cats_fingerprint(count, size, seed)
    kept = bank_path(fingerprint, size)
    images = found = read_images(kept, count, size)
    if images is not None:
        report(count, count)
    else:
        images = draw_toy_cats(count, size, seed, lambda done: report(done, count))
        with suppress(OSError):  # then the next start, or another worker, draws them again
            write_images(kept, images)
    return PhotoBank(
        images=torch.from_numpy(images),
        fingerprint=fingerprint,
        names=tuple(f"toy-cat-{number:06d}" for number in range(count)),
        sizes=((size, size),) * count,
        bad=(),
        from_cache=found is not None,
    )


def _load_photos(config: DataConfig, report: Callable[[int, int], None]) -> PhotoBank:
    root, scan = _scan(config)
    loaded = load_folder(root, config.classes, scan.files, config.image_size, report)
    bad = [BadFile(_printable(file.path), file.reason) for file in scan.bad + loaded.bad]
    return PhotoBank(
        images=torch.from_numpy(loaded.images),
        fingerprint=fingerprint(one.digest for one in loaded.facts),
        names=tuple(_printable(path) for path in loaded.paths),
        sizes=tuple((one.width, one.height) for one in loaded.facts),
        bad=tuple(sorted(bad, key=lambda file: file.path)),
        from_cache=loaded.from_cache,
        ignored=len(scan.others),
        note=loaded.note,
    )


def _scan(config: DataConfig) -> tuple[Path, Scan]:
    if config.root is None:
        raise ConfigError(
            "no photos given: pass --data DIR or set data.root (or data.source: toy_cats)"
        )
    root = config.root.expanduser()
    scan = scan_photos(root, config.classes)
    if not scan.files and not scan.bad:
        raise DataError(_no_images(root, config.classes, scan))
    return root, scan


def _printable(path: str) -> str:
    """A path that can be shown and stored anywhere, even if its bytes are no valid text."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def _where(root: Path | None, classes: tuple[str, ...] | None) -> str:
    return f"{root} (classes: {', '.join(classes)})" if classes else str(root)


def _no_images(root: Path, classes: tuple[str, ...] | None, scan: Scan) -> str:
    count = len(scan.others)
    example = f", such as {_printable(scan.others[0])}" if count else ""
    others = f" ({count} other file{'s' * (count != 1)}{example})"
    kinds = " ".join(sorted(suffix.removeprefix(".") for suffix in SUFFIXES))
    return f"{_where(root, classes)} holds no images{others}; photos are files ending in {kinds}"


def _too_few(config: DataConfig, bank: PhotoBank, minimum: int) -> str:
    usable = len(bank.images)
    if config.source == "toy_cats":
        return f"{usable} toy cats are too few: set data.toy_count to {minimum} or more"
    problem = (
        f"{_where(config.root, config.classes)} holds {usable} usable "
        f"photo{'s' * (usable != 1)}, and at least {minimum} are needed"
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
    """Refuse fewer training photos than a batch.

    Args:
        batch_size: the largest that will be asked for; 0: the config's.

    Raises:
        DataError: says how many there are and what to change.
    """
    photos, holdout = bank.split(config.data.holdout_fraction)
    count, batch_size = len(photos.images), batch_size or config.train.batch_size
    if count < batch_size:
        held_out = f" ({len(holdout.images)} more are held out)" if holdout else ""
        raise DataError(
            f"{count} photos{held_out} are fewer than one batch of {batch_size}; add photos or set "
            f"train.batch_size to at most {count}"
        )
