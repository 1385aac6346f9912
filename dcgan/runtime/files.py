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
    """Why a folder cannot be written to; None if it can. The folder need not exist.

    Unlike `make_folder` this function changes nothing: it only checks permissions.
    """
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        return f"{there} is not a folder"
    return None if os.access(there, os.W_OK | os.X_OK) else f"no permission to write to {there}"


def write_atomic(
    path: Path, writer: Callable[[BinaryIO], object], *, durable: bool = False
) -> None:
    """Let `writer` fill a new binary file, then replace `path` with it in one step.

    Readers and other writers see the old content or the new content, never a part. After an error
    the old file is unchanged and no temporary file is left.

    Args:
        durable: wait until the content is on the disk, so that a power failure cannot lose it.

    Raises:
        OSError: the folder cannot be made or the file cannot be written.
    """
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
    """Create a folder and test that it can be written to.

    Returns:
        Why it cannot be used; None if it can.
    """
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
