"""Trials' folders in a place that all machines of a study reach (`--artifacts`), through fsspec.

A study has one folder there, whose name no other study has, and a trial one in that. What a file
once held is an object, `NAME~ATTEMPT.TOKEN`, and is never changed. `manifest-ATTEMPT.json` says
which objects make up the folder. It is written last, in one step, so a reader finds a complete
folder or the one before.

An attempt is one process's time with a trial; Optuna's database counts them. Its manifest names
objects of its own alone, and it removes none of a later one, so a process that has lost a trial
without noticing changes nothing for the trial's new owner.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from uuid import uuid4

from optuna.study import Study

from dcgan.runtime.files import is_temporary, write_text_atomic
from dcgan.training.run.folder import RunFolder
from study.errors import LeaseLostError, SharedPlaceError
from study.storage.places import Place
from study.storage.store import Store, trial_name
from study.storage.trial_record import TrialRecord

ID_ATTRIBUTE = "artifacts_id"
"""User attribute of a study: what makes the name of its folder in a shared place its own."""
MARKER = "study.json"
"""An object in a study's folder, without which the place is not the one that the study uses."""
KNOWN = ".artifacts.json"
"""A file in a trial's folder on this disk: `Known`."""
STAYS = (KNOWN, ".delivered_to_mlflow.json")
"""Files that say what other places have of a folder on this disk."""


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
    def has_checkpoint(self) -> bool:
        """Whether a trial can be continued from it."""
        return RunFolder(Path()).checkpoint.name in self.files

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Manifest:
        """Read `text`; raises `ValueError`, `KeyError` or `TypeError` for anything else."""
        content = json.loads(text)
        files = {name: Stored(**stored) for name, stored in content["files"].items()}
        paths = [PurePosixPath(name) for name in files]
        if any(path.is_absolute() or ".." in path.parts for path in paths):
            raise ValueError("it names files elsewhere")
        return cls(int(content["attempt"]), int(content["count"]), files)


@dataclass(frozen=True)
class Known:
    """What the place had of a folder on this disk when that was put or brought."""

    attempt: int
    count: int = 0
    """Of the manifest; 0 if the attempt has put nothing yet."""
    local: dict[str, list[int]] = field(default_factory=dict)
    """Path in the folder → its size and its time of change in ns."""

    def save(self, folder: Path) -> None:
        """Write it into the folder."""
        write_text_atomic(folder / KNOWN, json.dumps(asdict(self)))

    @classmethod
    def load(cls, folder: Path) -> Known | None:
        """Read it; None if the folder was neither put nor brought."""
        try:
            return cls(**json.loads((folder / KNOWN).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None


class SharedTrials:
    """The folders of one study's trials in a shared place."""

    def __init__(self, address: str, name: str) -> None:
        self.address, self.name = address, name
        self.dropped: set[int] = set()
        """Trials of which this process has removed the checkpoints."""

    @classmethod
    def of(cls, store: Store, study: Study) -> SharedTrials | None:
        """Those of a study in the store's shared place; None if it has not been launched with one.

        `store` has the study's own address (`with_addresses`).
        """
        own = study.user_attrs.get(ID_ATTRIBUTE)
        return cls(store.shared, f"{study.study_name}-{own}") if store.shared and own else None

    @classmethod
    def begin(cls, store: Store, study: Study) -> None:
        """Let a study use the store's shared place from now on."""
        assert store.shared
        own = study.user_attrs.get(ID_ATTRIBUTE) or uuid4().hex[:8]
        content = json.dumps({"study": study.study_name})
        Place.at(store.shared).write(f"{study.study_name}-{own}/{MARKER}", content.encode())
        study.set_user_attr(ID_ATTRIBUTE, own)

    @cached_property
    def place(self) -> Place:
        """Raises `SharedPlaceError` if the library for such addresses is not installed."""
        return Place.at(self.address)

    def trial(self, number: int) -> SharedTrial:
        """The folder of one trial."""
        return SharedTrial(self.place, f"{self.name}/{trial_name(number)}")

    def check(self) -> None:
        """Raise `SharedPlaceError` unless the place has the study's folder and can be written."""
        if not self.place.exists(f"{self.name}/{MARKER}"):
            raise SharedPlaceError(
                f"{self.address} (--artifacts) has no folder {self.name} of this study: is it the "
                "place that the study was launched with, and is it mounted?"
            )
        self.place.check(self.name)

    def with_checkpoints(self) -> set[int]:
        """Numbers of the trials that have a checkpoint there."""
        found = (re.match(r"trial-(\d+)/[^/]+\.pt~", key) for key in self.place.names(self.name))
        return {int(match[1]) for match in found if match}

    def remove(self) -> None:
        """Remove all that the place has of the study."""
        self.place.remove_folder(self.name)


class SharedTrial:
    """One trial's folder in a shared place. Every method may raise `SharedPlaceError`."""

    def __init__(self, place: Place, path: str) -> None:
        self.place, self.path = place, path

    def newest(self) -> Manifest | None:
        """The manifest of the latest attempt; None if there is nothing."""
        found = manifests_among(self.place.names(self.path))
        if not found:
            return None
        name = found[max(found)]
        try:
            return Manifest.from_text(self.place.read(f"{self.path}/{name}").decode())
        except (ValueError, KeyError, TypeError) as error:
            raise self.place.damage(f"{self.path}/{name}", "is damaged") from error

    def bring(self, manifest: Manifest, folder: Path) -> None:
        """Replace a folder on this disk by that of a manifest, completely or not at all.

        The trial gets a fresh run in MLflow, which may have seen more of it than its checkpoint
        has. Raises `SharedPlaceError` if an object is gone or damaged, and `OSError`.
        """
        unfinished = folder.with_name(f".{folder.name}.tmp")
        shutil.rmtree(unfinished, ignore_errors=True)
        for name, stored in manifest.files.items():
            path = unfinished / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                if self.place.download(f"{self.path}/{stored.key}", file) != stored.sha256:
                    raise self.place.damage(f"{self.path}/{stored.key}", "is damaged")
        forget_mlflow_run(unfinished)
        Known(manifest.attempt, manifest.count, _identities(unfinished)).save(unfinished)
        shutil.rmtree(folder, ignore_errors=not folder.exists())
        unfinished.replace(folder)

    def drop_checkpoints(self) -> None:
        """Remove the checkpoints of a trial that has ended, and keep all else."""
        if (newest := self.newest()) is None:
            return
        gone = {stored.key for name, stored in newest.files.items() if name.endswith(".pt")}
        if gone:
            files = {name: it for name, it in newest.files.items() if it.key not in gone}
            self.commit(Manifest(newest.attempt, newest.count + 1, files))
            self.place.remove([f"{self.path}/{key}" for key in gone])

    def commit(self, manifest: Manifest) -> None:
        """Write a manifest."""
        key = f"{self.path}/manifest-{manifest.attempt}.json"
        self.place.write(key, manifest.text().encode())


def manifests_among(names: list[str]) -> dict[int, str]:
    """Attempt → the name of its manifest."""
    found = (re.fullmatch(r"manifest-(\d+)\.json", name) for name in names)
    return {int(match[1]): match[0] for match in found if match}


class Attempt:
    """Puts the folder of a trial on this disk into the place, again and again, as one attempt.

    `check` raises `LeaseLostError` once the trial is another process's.
    """

    def __init__(
        self, trial: SharedTrial, folder: Path, number: int, check: Callable[[], None]
    ) -> None:
        self.trial, self.folder, self.number, self.check = trial, folder, number, check
        self.count = 0
        self._sent: dict[str, Stored] = {}
        """Path in the folder → what was put of it last, even if that put was not completed."""
        self._loose: set[str] = set()
        """Objects that this attempt has put or begun to put, and may not need any more."""
        self._useless: set[str] | None = None
        """Objects to remove; None until the first put has looked."""

    def put(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Put what has changed since this attempt last put it.

        Raises `SharedPlaceError`, also as soon as `stop` says so, `LeaseLostError`, and `OSError`
        if the folder cannot be read.
        """
        useless = self._useless if self._useless is not None else self._useless_before()
        with ExitStack() as stack:
            opened = _opened(self.folder, stack)
            identities = {name: _identity(os.fstat(file.fileno())) for name, file in opened.items()}
            files = self._put_files(opened, stop)
        self.check()  # the upload may have taken long
        self.trial.commit(Manifest(self.number, self.count + 1, files))
        self.count += 1
        kept = {stored.key for stored in files.values()}
        useless = (useless | self._loose) - kept
        self._sent, self._useless, self._loose = files, useless, kept
        Known(self.number, self.count, identities).save(self.folder)
        self.trial.place.remove([f"{self.trial.path}/{key}" for key in useless])
        self._useless = set()

    def _useless_before(self) -> set[str]:
        """The objects that the first put replaces."""
        names = self.trial.place.names(self.trial.path)
        manifests = manifests_among(names)
        if max(manifests, default=0) > self.number:
            raise LeaseLostError(f"another process has put {self.trial.path}")
        earlier = {name for attempt, name in manifests.items() if attempt < self.number}
        found = ((name, re.search(r"~(\d+)\.[0-9a-f]+$", name)) for name in names)
        # Of this one, too: what another process of the attempt put is put again.
        return earlier | {name for name, of in found if of and int(of[1]) <= self.number}

    def _put_files(
        self, opened: dict[str, BinaryIO], stop: Callable[[], bool]
    ) -> dict[str, Stored]:
        files: dict[str, Stored] = {}
        same: dict[tuple[int, int], Stored] = {}  # two names of one file, as of a checkpoint
        token = f"{self.number}.{uuid4().hex[:12]}"
        for name, file in opened.items():
            facts = os.fstat(file.fileno())
            there = (self._sent.get(name), same.get((facts.st_dev, facts.st_ino)))
            alike = (it for it in there if it and [it.size, it.mtime_ns] == _identity(facts))
            stored = next(alike, None)
            if stored is None:
                key = f"{name}~{token}"
                self._loose.add(key)
                size, digest = self.trial.place.upload(f"{self.trial.path}/{key}", file, stop)
                self._sent[name] = stored = Stored(key, size, facts.st_mtime_ns, digest)
            same[facts.st_dev, facts.st_ino] = files[name] = stored
        return files


def changed(folder: Path, known: Known) -> bool:
    """Whether a folder on this disk has what was not put; checkpoints that are gone are no loss."""
    there = _identities(folder)
    lost = {name for name in known.local if name not in there and not name.endswith(".pt")}
    return bool(lost) or any(known.local.get(name) != it for name, it in there.items())


def forget_mlflow_run(folder: Path) -> None:
    """Let the trial of a folder have a fresh run in MLflow, which is filled from its history."""
    if (record := TrialRecord.load(folder)) and record.run_id:
        record.run_id = None
        record.save(folder)


def _identity(facts: os.stat_result) -> list[int]:
    return [facts.st_size, facts.st_mtime_ns]


def _identities(folder: Path) -> dict[str, list[int]]:
    found = {}
    for path in _files(folder):
        with suppress(FileNotFoundError):
            found[path.relative_to(folder).as_posix()] = _identity(path.stat())
    return found


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
