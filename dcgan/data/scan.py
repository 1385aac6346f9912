"""Which files below a folder are photos: nested folders, class folders, hidden files, links."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dcgan.config.settings import nearest
from dcgan.data.formats import SUFFIXES
from dcgan.errors import DataError

MAX_FILE_BYTES = 400_000_000  # the largest accepted photo, uncompressed, with alpha


@dataclass(frozen=True)
class BadFile:
    """A file that cannot be used, or is damaged: its path relative to the root, and why."""

    path: str
    reason: str


class PhotoFile(NamedTuple):
    """A file that may be a photo; `path` is relative to the root, with forward slashes."""

    path: str
    size: int  # bytes
    mtime_ns: int  # time of the last change


@dataclass
class Scan:
    """The files below a folder, sorted by path."""

    files: list[PhotoFile] = field(default_factory=list)
    bad: list[BadFile] = field(default_factory=list)
    """Files with an image suffix that cannot be opened (dead links, pipes), unreadable folders."""
    others: list[str] = field(default_factory=list)
    """Files without the suffix of a format that can be read."""
    own: int = 0
    """Number of pictures in folders where this program keeps results, which are left out."""


def scan_photos(root: Path, classes: tuple[str, ...] | None) -> Scan:
    """Find the photos below `root`, or below its folders `classes` only.

    Hidden files and folders are ignored. Links are followed. Each real folder is entered once.
    Raises `DataError` if `root` is not a readable folder or a class folder does not exist.
    """
    top = _list_root(root)
    scan, entered = Scan(), set[tuple[int, int]]()
    if classes is None:
        todo = [(os.fspath(root), "")]
    else:
        names = _class_folders(root, top, classes)
        todo = [(os.path.join(root, name), f"{name}/") for name in names]  # noqa: PTH118
    while todo:  # not by recursion, which ends at a thousand nested folders
        todo += _scan_folder(*todo.pop(), scan, entered)
    scan.files.sort(key=lambda file: file.path)
    scan.bad.sort(key=lambda file: file.path)
    return scan


def _list_root(root: Path) -> list[str]:
    try:
        return sorted(os.listdir(root))  # noqa: PTH208 (names only, and one call that can fail)
    except OSError as error:
        problem = f"cannot read the folder {root}: {error.strerror}"
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            what = f"{root} is a file" if root.exists() else f"there is no folder {root}"
            problem = f"{what}; pass the folder of the photos with --data DIR or data.root"
        raise DataError(problem) from None


def _class_folders(root: Path, top: list[str], classes: tuple[str, ...]) -> list[str]:
    folders = [name for name in top if not name.startswith(".") and (root / name).is_dir()]
    for name in classes:
        if name not in folders:
            hint = nearest(name, folders) if folders else "; it has no class folders"
            raise DataError(f"{root} has no class folder '{name}' (data.classes){hint}")
    return sorted(set(classes))


def _scan_folder(
    folder: str, prefix: str, scan: Scan, entered: set[tuple[int, int]]
) -> list[tuple[str, str]]:
    """Add the files of `folder` to `scan`; return the folders in it and their prefixes.

    `entered` holds the (device, inode) of folders.
    """
    try:
        info = os.stat(folder)  # noqa: PTH116 (thousands of folders: Path objects cost time)
        if info.st_ino and (info.st_dev, info.st_ino) in entered:
            return []  # a link back up, or a second link to the same photos
        entered.add((info.st_dev, info.st_ino))
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        reason = f"the folder cannot be read: {error.strerror}"
        scan.bad.append(BadFile(prefix.rstrip("/") or ".", reason))
        return []
    visible = [entry for entry in ordered if not entry.name.startswith(".")]
    folders = [entry for entry in visible if _add_file(entry, prefix, scan)]
    results = _result_folders(folder, {entry.name for entry in visible})
    for entry in folders:
        if entry.name in results:
            scan.own += sum(_is_photo(name) for *_, names in os.walk(entry.path) for name in names)
    others = [entry for entry in reversed(folders) if entry.name not in results]
    return [(entry.path, f"{prefix}{entry.name}/") for entry in others]


def _result_folders(folder: str, names: set[str]) -> set[str]:
    """The folders among `names`, all that lies in `folder`, with pictures of runs or studies."""
    if {"config.yaml", "history.jsonl"} <= names:
        return {"samples"}
    has_studies = "studies" in names and any(Path(folder).glob("studies/*/study.yaml"))
    return {"studies", "artifacts"} if has_studies else set()


def _is_photo(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122


def _add_file(entry: os.DirEntry[str], prefix: str, scan: Scan) -> bool:
    """Add one entry to `scan`. Returns True, without adding, if it is a folder."""
    path = prefix + entry.name
    is_photo = _is_photo(entry.name)
    try:
        info = entry.stat()
    except OSError as error:  # a link that leads nowhere or in a circle
        if is_photo:
            scan.bad.append(BadFile(path, f"cannot be opened: {error.strerror}"))
        return False
    if stat.S_ISDIR(info.st_mode):
        return True
    if not is_photo:
        scan.others.append(path)
    elif not stat.S_ISREG(info.st_mode):  # opening a pipe would block
        scan.bad.append(BadFile(path, "not a regular file"))
    elif info.st_size > MAX_FILE_BYTES:
        scan.bad.append(BadFile(path, f"larger than {MAX_FILE_BYTES // 1_000_000} MB"))
    else:
        scan.files.append(PhotoFile(path, info.st_size, info.st_mtime_ns))
    return False
