"""Objects under an address that all machines reach: a folder, `s3://`, `gs://` (fsspec)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from dcgan.errors import first_line
from dcgan.runtime.files import write_atomic
from study.errors import DamagedError, SharedPlaceError
from study.storage.addresses import hide_password

CHUNK_BYTES = 8 << 20
CONNECT_SECONDS, READ_SECONDS, RETRIES = 5, 20, 2
"""For S3. Its own defaults wait for minutes for a server that is not there."""


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
            settings["config_kwargs"] = {
                "connect_timeout": CONNECT_SECONDS,
                "read_timeout": READ_SECONDS,
                "retries": {"max_attempts": RETRIES, "mode": "standard"},
            }
        try:
            system, root = fsspec.core.url_to_fs(address, **settings)
        except (ImportError, ValueError) as error:
            scheme = address.partition("://")[0]
            extra = f"; pip install 'dcgan-study[{scheme}]'" if scheme in ("s3", "gs") else ""
            raise SharedPlaceError(f"--artifacts {address}: {first_line(error)}{extra}") from None
        if address.startswith("s3://"):
            system.retries = 1  # it would try each of botocore's tries five times
        return cls(address, system, root)

    def damage(self, key: str, why: str) -> DamagedError:
        """The error for an object that cannot be used, however often it is read."""
        return DamagedError(f"{hide_password(self.address)}/{key} {why}")

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

    def check(self, folder: str = "") -> None:
        """Raise `SharedPlaceError` unless objects can be written, read, listed and removed."""
        probe = f"{folder}/.probe-{uuid4().hex}".lstrip("/")
        self.write(f"{probe}/object", b"probe")
        if self.read(f"{probe}/object") != b"probe":
            raise self.fault("read", "what is read is not what was written")
        if self.names(probe) != ["object"]:
            raise self.fault("list", "what was written is not among the objects")
        self.remove([f"{probe}/object"])  # as all that is removed later; says if that is forbidden
        if self._is_local:
            self.remove_folder(probe)

    def names(self, folder: str) -> list[str]:
        """The paths of all objects in a folder, relative to it; empty if it does not exist."""
        start = self._path(folder)
        with self._faults("list"):
            found = self.system.find(start)
        return [path[len(start) + 1 :] for path in found]

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        with self._faults("read"):
            return bool(self.system.exists(self._path(key)))

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

    def upload(
        self, key: str, source: BinaryIO, stop: Callable[[], bool] = lambda: False
    ) -> tuple[int, str]:
        """Write an object; returns its bytes and its SHA-256. Ends once `stop` says so."""
        digest, size = hashlib.sha256(), 0
        with self._faults("write to"), self.system.open(self._path(key), "wb") as target:
            while chunk := source.read(CHUNK_BYTES):
                if stop():
                    raise self.fault("write to", "it takes too long now")
                digest.update(chunk)
                size += len(chunk)
                target.write(chunk)
        return size, digest.hexdigest()

    def download(self, key: str, target: BinaryIO) -> str:
        """Read an object into a file; returns its SHA-256. Raises `OSError` if that is full."""
        digest = hashlib.sha256()
        with self._faults("read"):
            try:
                source = self.system.open(self._path(key), "rb")
            except FileNotFoundError:
                raise self.damage(key, "is gone") from None
        with source:
            while True:
                with self._faults("read"):
                    chunk = source.read(CHUNK_BYTES)
                if not chunk:
                    return digest.hexdigest()
                digest.update(chunk)
                target.write(chunk)

    def remove(self, keys: list[str]) -> None:
        """Remove objects, of which some may be gone."""
        for key in keys:
            with self._faults("remove from"), suppress(FileNotFoundError):
                self.system.rm_file(self._path(key))

    def remove_folder(self, folder: str) -> None:
        """Remove all objects of a folder, which need not exist."""
        with self._faults("remove from"), suppress(FileNotFoundError):
            self.system.rm(self._path(folder), recursive=True)
