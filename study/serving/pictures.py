"""The pictures of trials as Optuna's artifacts, read where they are: in the results folder.

Optuna keeps what artifacts a trial has in the trial's system attributes, which cannot be changed
once it has finished. Here they are made when they are asked for, from the files that are there, so
nothing is copied, and the database holds none of it.
"""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from uuid import NAMESPACE_URL, uuid5

from optuna.artifacts.exceptions import ArtifactNotFound

from dcgan.training.run.folder import RunFolder
from study.storage.store import Store

PREFIX = "artifacts:"
"""How the names of system attributes begin that list artifacts."""
READ_ONLY = "pictures are written by trials only"


class Pictures:
    """An artifact store of Optuna over the pictures of a results folder. It writes nothing."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._files: dict[str, Path] = {}
        """Artifact id → file of what was listed; nothing else is opened."""

    def of_study(self, study: str) -> dict[str, str]:
        """The system attributes that list a study's contact sheet."""
        return self._attributes([self.store.study(study).contact_sheet])

    def of_trial(self, study: str, number: int) -> dict[str, str]:
        """The system attributes that list a trial's pictures; of an unfinished one the latest."""
        folder = RunFolder(self.store.study(study).trial(number))
        closing = folder.real_vs_generated, folder.losses, folder.animation
        return self._attributes([_samples(folder), *closing])

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open a picture that was listed."""
        try:
            return self._files[artifact_id].open("rb")
        except (KeyError, OSError) as error:
            raise ArtifactNotFound("the picture is gone") from error

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Refuse."""
        raise PermissionError(READ_ONLY)

    def remove(self, artifact_id: str) -> None:
        """Refuse."""
        raise PermissionError(READ_ONLY)

    def _attributes(self, paths: Iterable[Path]) -> dict[str, str]:
        listed = {}
        for path in filter(_is_file, paths):
            place = path.relative_to(self.store.root).as_posix()
            artifact = str(uuid5(NAMESPACE_URL, place))
            self._files[artifact] = path
            kind, _ = mimetypes.guess_type(path.name)
            about = {"artifact_id": artifact, "filename": path.name, "mimetype": kind}
            listed[PREFIX + artifact] = json.dumps({**about, "encoding": None})
        return listed


def _samples(folder: RunFolder) -> Path:
    """The closing samples, else the latest."""
    with suppress(OSError, ValueError):
        if not folder.final_grid.is_file():
            return next(reversed(folder.grids().values()), folder.final_grid)
    return folder.final_grid


def _is_file(path: Path) -> bool:
    with suppress(OSError, ValueError):  # a study of others, whose name is no name of a folder
        return path.is_file()
    return False
