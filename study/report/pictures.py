"""The pictures of a report: of each trial and epoch the same samples in a row, as data URIs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

from PIL import Image

from dcgan.evaluation.record import in_digits
from dcgan.runtime.html import data_uri
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import read_evals
from study.results.sample_rows import GRID, first_row, grids_by_epoch
from study.storage.store import StudyFolder
from study.storage.trial_result import TrialResult

SAMPLES = GRID
"""Samples in a row: those of the first noise vectors, the same for all trials."""
MOST_TRIALS, MOST_EPOCHS = 60, 8
"""With these limits a report of 60 trials stays below 8 MB."""


class Strip(NamedTuple):
    """One trial's samples."""

    by_epoch: dict[int, str]
    """Epoch → data URI."""
    final: int
    """The last epoch of them."""
    line: Image.Image
    """The samples of that epoch."""
    distances: dict[int, str]
    """Epoch → name and value of the Fréchet distance."""


def strips(rows: list[TrialResult], folder: StudyFolder) -> dict[int, Strip]:
    """Trial number → samples of the best trials that have pictures; `rows` are best first."""
    runs = ((row.number, RunFolder(folder.trial(row.number))) for row in rows)
    drawn = list(islice((it for it in runs if it[1].grids()), MOST_TRIALS))
    with ThreadPoolExecutor() as pool:  # Pillow reads and writes files beside other threads
        found = pool.map(_strip, (run for _, run in drawn))
        return {number: it for (number, _), it in zip(drawn, found, strict=True) if it}


def photos(rows: list[TrialResult], folder: StudyFolder) -> str | None:
    """A row of training photos as a trial saw them, as a data URI."""
    for row in rows:
        path = RunFolder(folder.trial(row.number)).training_images
        if line := first_row(path):
            return data_uri(line)
    return None


def _strip(folder: RunFolder) -> Strip | None:
    grids = grids_by_epoch(folder, MOST_EPOCHS)
    shown = {epoch: line for epoch, path in grids.items() if (line := first_row(path))}
    if not shown:
        return None
    last = max(shown)
    distances = {
        record.epoch: f"{record.frechet_metric} {in_digits(record.frechet)}"
        for record in read_evals(folder.history)
        if record.epoch in shown
    }
    uris = {epoch: data_uri(line) for epoch, line in shown.items()}
    return Strip(uris, last, shown[last], distances)
