"""File locks: who runs a study from this results folder, and whether a lock is held."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from study.errors import StudyBusyError
from study.storage.store import StudyFolder

_own: set[Path] = set()


def is_held(path: Path) -> bool:
    """Whether a process holds a lock file; one that cannot be asked about counts as held."""
    if not path.is_file():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return True
    lock.release()
    return False


@contextmanager
def hold(path: Path, what: str) -> Iterator[None]:
    """Hold a folder's lock, which the system releases when this process ends in any way.

    Raises:
        StudyBusyError: another process holds it.
    """
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / ".lock")
    owner = path / ".owner"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        pid = owner.read_text(encoding="utf-8").strip() if owner.exists() else "unknown"
        raise StudyBusyError(
            f"{what} is being run by another process (pid {pid}); wait for it or stop it with "
            "Ctrl-C first"
        ) from None
    try:
        owner.write_text(f"{os.getpid()}\n", encoding="utf-8")
        yield
    finally:
        lock.release()


@contextmanager
def announced(folder: StudyFolder) -> Iterator[list[int]]:
    """Be known as a launcher of the study until the end.

    Yields:
        Process numbers of those there are already.
    """
    others = running(folder)
    # Containers may all have the same process number, and even the same host name.
    path = folder.launchers / f"{os.getpid()}-{uuid4().hex}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        _own.add(path)
        try:
            yield others
        finally:
            _own.discard(path)
            path.unlink(missing_ok=True)


def running(folder: StudyFolder) -> list[int]:
    """Process numbers of the study's launchers, without this process."""
    found = []
    for path in sorted(folder.launchers.glob("*-*.lock")):
        if path in _own:
            continue
        try:
            with FileLock(path, timeout=0), suppress(OSError):
                path.unlink()  # left by a process that was killed
        except Timeout:
            found.append(int(path.stem.partition("-")[0]))
    return found


def check_idle(folder: StudyFolder) -> None:
    """Refuse what cannot be done while a study runs.

    Raises:
        StudyBusyError: it does.
    """
    others = running(folder)
    if others:
        raise StudyBusyError(
            f"the study in {folder.path} is being run by another process (pid "
            f"{', '.join(map(str, others))}); wait for it or stop it with Ctrl-C first"
        )
