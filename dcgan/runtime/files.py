"""Atomic writes: a reader, a crash or a full disk never leaves half a file."""

from __future__ import annotations

import os
import re
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


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 if there is none. Links are not followed."""
    files = (path, *path.rglob("*"))
    return sum(file.lstat().st_size for file in files if file.is_symlink() or file.is_file())


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
