"""Trials' folders in a place that all machines of a study reach (`--artifacts`), through fsspec.

A trial has one folder there, `STUDY/trial-007/`. What a file once held is an object of its own,
`NAME~ATTEMPT.COUNT`, and is never changed. `manifest-ATTEMPT.json` says which objects make up the
folder. It is written last, in one step, so a reader finds a complete folder or the one before.

An attempt is one process's time with the trial. A process that lost the trial without noticing
writes the manifest of its own attempt, and readers take the latest attempt.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from dcgan.errors import first_line
from dcgan.runtime.files import is_temporary, write_atomic, write_text_atomic
from dcgan.training.run.folder import RunFolder
from study.errors import SharedPlaceError
from study.storage.addresses import hide_password
from study.storage.store import Store, trial_name

KNOWN = ".artifacts.json"
"""A trial's file with the manifest that its folder was last put or brought with."""
STAYS = (KNOWN, ".delivered_to_mlflow.json")
"""Files that say what other places have of a folder on this disk."""
CHUNK_BYTES = 8 << 20
CONNECT_SECONDS, RETRIES = 5, 3
"""For S3. Its own defaults wait for minutes for a server that is not there."""


@dataclass(frozen=True)
class Stored:
    """What a file held when it was put."""

    key: str
    """The object's name in the trial's folder."""
    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a folder held when it was put."""

    attempt: int
    count: int
    """How often that attempt had put it."""
    files: dict[str, Stored]
    """Path in the folder → its content."""

    @property
    def checkpoint(self) -> str | None:
        """The SHA-256 of the checkpoint; None without one."""
        name = RunFolder(Path()).checkpoint.name
        return self.files[name].sha256 if name in self.files else None

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Manifest:
        """Read `text`; raises `ValueError`, `KeyError` or `TypeError` for anything else."""
        content = json.loads(text)
        files = {name: Stored(**stored) for name, stored in content["files"].items()}
        return cls(int(content["attempt"]), int(content["count"]), files)


def known_manifest(folder: Path) -> Manifest | None:
    """The manifest that a folder on this disk was last put or brought with; None without one."""
    try:
        return Manifest.from_text((folder / KNOWN).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


class SharedTrials:
    """The folders of one study's trials in a shared place."""

    def __init__(self, address: str, study: str) -> None:
        self.address, self.study = address, study
        self.dropped: set[int] = set()
        """Trials of which this process has removed the checkpoints."""

    @classmethod
    def of(cls, store: Store, study: str) -> SharedTrials | None:
        """Those of a study in the store's shared place; None if the store has none."""
        return cls(store.shared, study) if store.shared else None

    @cached_property
    def place(self) -> Place:
        """Raises `SharedPlaceError` if the library for such addresses is not installed."""
        return Place.at(self.address)

    def trial(self, number: int) -> SharedTrial:
        """The folder of one trial."""
        return SharedTrial(self.place, f"{self.study}/{trial_name(number)}")

    def check(self) -> None:
        """Raise `SharedPlaceError` unless objects can be written, read and removed."""
        key = f"{self.study}/.probe-{uuid4().hex}"
        self.place.write(key, b"probe")
        if self.place.read(key) != b"probe":
            raise self.place.fault("read", "what is read is not what was written")
        self.place.remove([key])

    def remove(self) -> None:
        """Remove all that the place has of the study."""
        self.place.remove_folder(self.study)


class SharedTrial:
    """One trial's folder in a shared place. Every method may raise `SharedPlaceError`."""

    def __init__(self, place: Place, path: str) -> None:
        self.place, self.path = place, path

    def newest(self) -> Manifest | None:
        """The manifest of the latest attempt; None if there is nothing."""
        found = self._manifests()
        if not found:
            return None
        name = found[max(found)]
        try:
            return Manifest.from_text(self.place.read(f"{self.path}/{name}").decode())
        except (ValueError, KeyError, TypeError) as error:
            raise self.place.fault("read", f"{self.path}/{name} is damaged") from error

    def put(self, folder: Path, attempt: int) -> Manifest:
        """Put what has changed in a folder since it was last put or brought."""
        known = known_manifest(folder)
        before = known.files if known else {}
        first = known is None or known.attempt != attempt
        count = 1 if first or known is None else known.count + 1
        with ExitStack() as stack:
            files = self._put_files(_opened(folder, stack), before, f"{attempt}.{count}")
        manifest = Manifest(attempt, count, files)
        self._commit(manifest, old=None if first else before)
        write_text_atomic(folder / KNOWN, manifest.text())
        return manifest

    def _put_files(
        self, opened: dict[str, BinaryIO], before: dict[str, Stored], version: str
    ) -> dict[str, Stored]:
        files: dict[str, Stored] = {}
        same: dict[tuple[int, int], Stored] = {}  # two names of one file, as of a checkpoint
        for name, file in opened.items():
            facts = os.fstat(file.fileno())
            stored = before.get(name)
            if stored is None or (stored.size, stored.mtime_ns) != (
                facts.st_size,
                facts.st_mtime_ns,
            ):
                stored = same.get((facts.st_dev, facts.st_ino))
            if stored is None:
                key = f"{name}~{version}"
                size, digest = self.place.upload(f"{self.path}/{key}", file)
                stored = Stored(key, size, facts.st_mtime_ns, digest)
            same[facts.st_dev, facts.st_ino] = files[name] = stored
        return files

    def _commit(self, manifest: Manifest, old: dict[str, Stored] | None) -> None:
        """Write a manifest, then remove what no manifest of this or a later attempt names.

        `old` are the contents that were there before; None looks what there is.
        """
        manifests = self._manifests() if old is None else {}
        name = f"manifest-{manifest.attempt}.json"
        self.place.write(f"{self.path}/{name}", manifest.text().encode())
        kept = {stored.key for stored in manifest.files.values()}
        if old is not None:
            gone = {stored.key for stored in old.values()} - kept
        elif max(manifests, default=0) > manifest.attempt:
            return  # another process has the trial by now, and its folder names other objects
        else:
            names = self.place.names(self.path)
            gone = {key for key in names if "~" in key and key not in kept}
            gone |= {text for one, text in manifests.items() if one != manifest.attempt}
        self.place.remove([f"{self.path}/{key}" for key in gone])

    def bring(self, manifest: Manifest, folder: Path) -> None:
        """Make a folder on this disk that of a manifest, each file in one step.

        Checkpoints come last, so that a folder that is cut off has an older one or none. Raises
        `SharedPlaceError` if an object is gone or damaged.
        """
        for name in sorted(manifest.files, key=lambda name: name.endswith(".pt")):
            stored, path = manifest.files[name], folder / name
            if not _holds(path, stored):
                self._bring_file(stored, path)
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            name = path.relative_to(folder).as_posix()
            if name not in manifest.files and name not in STAYS:
                path.unlink()
        write_text_atomic(folder / KNOWN, manifest.text())

    def _bring_file(self, stored: Stored, path: Path) -> None:
        def write(file: BinaryIO) -> None:
            digest = self.place.download(f"{self.path}/{stored.key}", file)
            if digest != stored.sha256:
                raise self.place.fault("read", f"{self.path}/{stored.key} is damaged")

        write_atomic(path, write, durable=True)
        os.utime(path, ns=(stored.mtime_ns, stored.mtime_ns))

    def drop_checkpoints(self) -> None:
        """Remove the checkpoints of a trial that has ended, and keep all else."""
        if (newest := self.newest()) is None:
            return
        files = {name: it for name, it in newest.files.items() if not name.endswith(".pt")}
        if len(files) < len(newest.files):
            self._commit(Manifest(newest.attempt, newest.count + 1, files), newest.files)

    def _manifests(self) -> dict[int, str]:
        """Attempt → the name of its manifest."""
        names = self.place.names(self.path)
        found = (re.fullmatch(r"manifest-(\d+)\.json", name) for name in names)
        return {int(match[1]): match[0] for match in found if match}


def changed(folder: Path) -> bool:
    """Whether a folder on this disk is not as it was last put or brought."""
    known = known_manifest(folder)
    if known is None:
        return True
    names = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    same = names.keys() == known.files.keys()
    return not same or any(not _holds(path, known.files[name]) for name, path in names.items())


def _holds(path: Path, stored: Stored) -> bool:
    """Whether a file on this disk has this content, by its size and its time of change."""
    try:
        facts = path.stat()
    except OSError:
        return False
    return (facts.st_size, facts.st_mtime_ns) == (stored.size, stored.mtime_ns)


def _files(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if path.name not in STAYS and not is_temporary(path.name))


def _opened(folder: Path, stack: ExitStack) -> dict[str, BinaryIO]:
    """All files of a folder while a trial writes it, checkpoints first.

    An open checkpoint stays what it is if it is replaced. The history is appended to, so one that
    is read later has all that the checkpoint has seen.
    """
    opened: dict[str, BinaryIO] = {}
    for path in sorted(_files(folder), key=lambda path: path.suffix != ".pt"):
        with suppress(FileNotFoundError):  # replaced or removed meanwhile
            opened[path.relative_to(folder).as_posix()] = stack.enter_context(path.open("rb"))
    return opened


class Place:
    """Objects under one address; every error is a `SharedPlaceError`."""

    def __init__(self, address: str, system: Any, root: str) -> None:
        self.address, self.system, self.root = address, system, root.rstrip("/")

    @classmethod
    def at(cls, address: str) -> Place:
        """Open an address; nothing is read yet."""
        import fsspec  # late: 0.1 s

        settings: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
        if "://" not in address:
            settings["auto_mkdir"] = True
        if address.startswith("s3://"):
            retries = {"max_attempts": RETRIES, "mode": "standard"}
            settings["config_kwargs"] = {"connect_timeout": CONNECT_SECONDS, "retries": retries}
        try:
            system, root = fsspec.core.url_to_fs(address, **settings)
        except (ImportError, ValueError) as error:
            scheme = address.partition("://")[0]
            extra = f"; pip install 'dcgan-study[{scheme}]'" if scheme in ("s3", "gs") else ""
            raise SharedPlaceError(f"--artifacts {address}: {first_line(error)}{extra}") from None
        return cls(address, system, root)

    def fault(self, what: str, why: str) -> SharedPlaceError:
        """The error that says what failed, and why."""
        return SharedPlaceError(
            f"cannot {what} {hide_password(self.address)} (--artifacts): {why}; check the address, "
            "the credentials and the network"
        )

    @contextmanager
    def _faults(self, what: str) -> Iterator[None]:
        try:
            yield
        except SharedPlaceError:
            raise
        except Exception as error:  # each kind of place raises errors of its own library
            raise self.fault(what, f"{type(error).__name__}: {first_line(error)}") from error

    def _path(self, key: str) -> str:
        return f"{self.root}/{key}"

    def names(self, folder: str) -> list[str]:
        """The paths of all objects in a folder, relative to it; empty if it does not exist."""
        start = self._path(folder)
        with self._faults("list"):
            found = self.system.find(start)
        return [path[len(start) + 1 :] for path in found]

    def read(self, key: str) -> bytes:
        """A small object."""
        with self._faults("read"):
            return bytes(self.system.cat_file(self._path(key)))

    def write(self, key: str, content: bytes) -> None:
        """Write a small object in one step."""
        path = self._path(key)
        with self._faults("write to"):
            if not self._is_local:
                self.system.pipe_file(path, content)
                return
            write_atomic(Path(path), lambda file: file.write(content), durable=True)

    @property
    def _is_local(self) -> bool:
        from fsspec.implementations.local import LocalFileSystem

        return isinstance(self.system, LocalFileSystem)

    def upload(self, key: str, source: BinaryIO) -> tuple[int, str]:
        """Write an object; returns its bytes and its SHA-256."""
        path, digest, size = self._path(key), hashlib.sha256(), 0
        with self._faults("write to"), self.system.open(path, "wb") as target:
            while chunk := source.read(CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
                target.write(chunk)
        return size, digest.hexdigest()

    def download(self, key: str, target: BinaryIO) -> str:
        """Read an object into a file; returns its SHA-256."""
        digest = hashlib.sha256()
        with self._faults("read"), self.system.open(self._path(key), "rb") as source:
            while chunk := source.read(CHUNK_BYTES):
                digest.update(chunk)
                target.write(chunk)
        return digest.hexdigest()

    def remove(self, keys: list[str]) -> None:
        """Remove objects, of which some may be gone."""
        for key in keys:
            with self._faults("remove from"), suppress(FileNotFoundError):
                self.system.rm_file(self._path(key))

    def remove_folder(self, folder: str) -> None:
        """Remove all objects of a folder, which need not exist."""
        with self._faults("remove from"), suppress(FileNotFoundError):
            self.system.rm(self._path(folder), recursive=True)
