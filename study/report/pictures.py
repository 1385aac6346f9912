"""The pictures of a report: of each trial and epoch the same samples in a row, as data URIs."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import read_evals
from study.storage.store import StudyFolder
from study.storage.trial_result import TrialResult

SAMPLES = 8
"""Samples in a row: those of the first noise vectors, the same for all trials."""
GRID = 8
"""Samples in a line of a grid."""
MOST_TRIALS, MOST_EPOCHS = 60, 8
QUALITY = 80
"""Of WebP; with these limits a report of 60 trials stays below 8 MB."""


class Strip(NamedTuple):
    """One trial's samples."""

    by_epoch: dict[int, str]
    """Epoch → data URI."""
    final: int
    """The last epoch of them."""
    line: Image.Image
    """The samples of that epoch."""


def strips(rows: list[TrialResult], folder: StudyFolder) -> dict[int, Strip]:
    """Trial number → samples of the best trials that have pictures; `rows` are best first."""
    found: dict[int, Strip] = {}
    for row in rows:
        if len(found) == MOST_TRIALS:
            break
        if strip := _strip(RunFolder(folder.trial(row.number))):
            found[row.number] = strip
    return found


def photos(rows: list[TrialResult], folder: StudyFolder) -> str | None:
    """A row of training photos as a trial saw them, as a data URI."""
    for row in rows:
        path = RunFolder(folder.trial(row.number)).training_images
        if line := _first_line(path):
            return as_uri(line)
    return None


def _strip(folder: RunFolder) -> Strip | None:
    epochs = {record.step: record.epoch for record in read_evals(folder.history)}
    grids = [(epochs[step], path) for step, path in folder.grids().items() if step in epochs]
    if len(grids) > MOST_EPOCHS:
        last = len(grids) - 1
        chosen = {round(index * last / (MOST_EPOCHS - 1)) for index in range(MOST_EPOCHS)}
        grids = [grids[index] for index in sorted(chosen)]
    shown = {epoch: line for epoch, path in grids if (line := _first_line(path))}
    if not shown:
        return None
    last = max(shown)
    return Strip({epoch: as_uri(line) for epoch, line in shown.items()}, last, shown[last])


def _first_line(path: Path) -> Image.Image | None:
    """The first line of a grid of 8 × 8 pictures.

    None if the file is missing, damaged, or of fewer pictures (of few photos).
    """
    try:
        with Image.open(path) as picture:
            if picture.width != picture.height:
                return None
            height = picture.height // GRID
            return picture.convert("RGB").crop((0, 0, picture.width, height))
    except OSError:
        return None


def as_uri(picture: Image.Image) -> str:
    """A picture as a data URI, for the page."""
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")
