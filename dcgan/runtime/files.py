"""Atomic writes: a reader, a crash or a full disk never leaves half a file."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp|\.writable\.[0-9a-f]{32}")


def is_temporary(name: str) -> bool:
    """Whether a file of this name was left behind by an interrupted writer of this module."""
    return bool(_TEMPORARY.fullmatch(name))


def why_unwritable(folder: Path) -> str | None:
    """Why a folder, which need not exist, cannot be written to; None if it can. Creates nothing."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        return f"{there} is not a folder"
    return None if os.access(there, os.W_OK | os.X_OK) else f"no permission to write to {there}"


def size_of(*places: Path) -> int:
    """Bytes of files, and of all files in folders; 0 for what is not there.

    A file with several names (hard links) counts once. Symbolic links are not followed.
    """
    files = (file for place in places for file in (place, *place.rglob("*")))
    found = (file.lstat() for file in files if file.is_symlink() or file.is_file())
    return sum({(item.st_dev, item.st_ino): item.st_size for item in found}.values())


def write_atomic(
    path: Path, writer: Callable[[BinaryIO], object], *, durable: bool = False
) -> None:
    """Let `writer` fill a new binary file, then replace `path` with it in one step.

    `durable` waits until the content is on the disk, so that a power failure cannot lose it. Raises
    `OSError` if the folder cannot be made or the file cannot be written. After any error the old
    file is unchanged and no temporary file is left. A link stays: its target is replaced. What is
    no regular file, such as `/dev/stdout`, is written into.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file() and not path.is_dir():
        with path.open("wb") as file:
            writer(file)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            writer(file)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:  # a Ctrl-C must not leave the half-written file either
        temporary.unlink(missing_ok=True)
        raise


def link_atomic(source: Path, path: Path) -> None:
    """Make `path` a hard link of the file `source` in one step; a copy where there are no links.

    Raises `OSError` if neither can be made. After any error the old `path` is unchanged.
    """
    source, path = Path(os.path.realpath(source)), Path(os.path.realpath(path))
    if path.exists() and path.samefile(source):
        return
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        temporary.hardlink_to(source)
        temporary.replace(path)
    except OSError:
        with source.open("rb") as file:
            write_atomic(path, lambda copy: shutil.copyfileobj(file, copy), durable=True)
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> str | None:
    """Create a folder and a file in it. Returns why this fails; None if it works."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".writable.{uuid4().hex}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        return error.strerror or type(error).__name__
    return None


def write_text_atomic(path: Path, text: str) -> None:
    """Write a text file in UTF-8, atomically."""
    write_atomic(path, lambda file: file.write(text.encode("utf-8")))
