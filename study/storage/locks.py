"""File locks: which processes of this machine run a study, a trial or a full run.

The system releases a lock when its process ends in any way. Processes of other machines hold leases
(see `study.storage.leases`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from dcgan.runtime.files import write_text_atomic
from study.errors import StudyBusyError
from study.storage.store import StudyFolder, trial_name

_own: set[Path] = set()
_LAUNCHER = re.compile(r"(\d+)-\w+\.lock")


def is_held(path: Path) -> bool:
    """Whether a process holds a lock file. No file is made; an unreadable one counts as held."""
    if not path.is_file():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except (Timeout, OSError):
        return True


def trial_is_held(locks: Path, number: int) -> bool:
    """Whether a process holds a trial's lock file in a folder of locks."""
    return is_held(locks / f"{trial_name(number)}.lock")


def lock_folders(folder: StudyFolder) -> list[Path]:
    """Folders of trials' lock files: a study on a server has one for each machine."""
    return [folder.locks, *(path for path in folder.locks.glob("*") if path.is_dir())]


def place_of(locks: Path) -> str:
    """A name for the disk of a folder of locks: hosts and paths may have the same names."""
    path = locks / ".place"
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / ".place.lock"):
        if not path.exists():
            write_text_atomic(path, uuid4().hex)
        return path.read_text(encoding="utf-8")


def held_full_runs(folder: StudyFolder) -> list[Path]:
    """Folders of the full runs that are being trained."""
    return [lock.parent for lock in sorted(folder.path.glob("full_runs/*/.lock")) if is_held(lock)]


@contextmanager
def hold(path: Path, what: str) -> Iterator[None]:
    """Hold a folder's lock; raises `StudyBusyError` if another process holds it."""
    path.mkdir(parents=True, exist_ok=True)
    owner = path / ".owner"
    with ExitStack() as held:
        try:
            held.enter_context(FileLock(path / ".lock", timeout=0))
        except Timeout:
            pid = owner.read_text(encoding="utf-8").strip() if owner.exists() else "unknown"
            raise StudyBusyError(
                f"{what} is being run by another process (pid {pid}); wait for it or stop it with "
                "Ctrl-C first"
            ) from None
        owner.write_text(f"{os.getpid()}\n", encoding="utf-8")
        yield


@contextmanager
def announced(folder: StudyFolder) -> Iterator[list[int]]:
    """List this process as a launcher of the study; yields the process ids of the others."""
    others = running(folder)
    # Containers may all have the same process id, and even the same host name.
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
    """Process ids of the study's other launchers on this machine."""
    found = []
    for path in sorted(folder.launchers.glob("*-*.lock")):
        named = _LAUNCHER.fullmatch(path.name)
        if path in _own or not named:
            continue
        try:
            with FileLock(path, timeout=0), suppress(OSError):
                path.unlink()  # left by a process that was killed
        except Timeout:
            found.append(int(named[1]))
    return found


def check_idle(folder: StudyFolder) -> None:
    """Raise `StudyBusyError` while this machine runs the study, a trial or a full run of it."""
    who = [f"pid {pid}" for pid in running(folder)]
    if not who:  # a worker may outlive its launcher for a while
        held = [lock.stem for lock in folder.locks.rglob("trial-*.lock") if is_held(lock)]
        who = [*sorted(held), *(f"full run of {path.name}" for path in held_full_runs(folder))]
    if who:
        raise StudyBusyError(
            f"the study in {folder.path} is being run by another process ({', '.join(who)}); wait "
            "for it or stop it with Ctrl-C first"
        )
