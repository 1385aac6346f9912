"""Rows of samples: what the first noise vectors of a trial became, the same for all trials."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from optuna.trial import TrialState
from PIL import Image, ImageDraw

from dcgan.config.train_config import DataConfig
from dcgan.runtime.pictures import BACKGROUND, grid_row, read_picture
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import read_evals
from study.results.wording import in_words
from study.storage.store import trial_name
from study.storage.trial_result import TrialResult

GRID = 8
"""Samples in a line of a grid."""
IMAGE_SIZES = get_args(DataConfig.model_fields["image_size"].annotation)
"""Pixels of a sample."""
ROW_PIXELS = 536
"""Width of a row that is shown; a grid of 32 or 64 pixels a sample is about as wide."""
TITLE_PIXELS = 24
MISSING = "no samples on this machine"


def counting_grid(folder: RunFolder, row: TrialResult) -> Path | None:
    """The samples of the evaluation that counts; the latest of an unfinished trial."""
    grids = folder.grids()
    if not grids:
        return None
    if row.state == TrialState.COMPLETE and row.step in grids:
        return grids[row.step]
    return grids[max(grids)]


def grids_by_epoch(folder: RunFolder, most: int | None = None) -> dict[int, Path]:
    """Epoch → samples of a trial's evaluations; of more than `most`, some at equal distances."""
    epochs = {record.step: record.epoch for record in read_evals(folder.history)}
    grids = [(epochs[step], path) for step, path in folder.grids().items() if step in epochs]
    if most is not None and len(grids) > most:
        last = len(grids) - 1
        chosen = {round(index * last / (most - 1)) for index in range(most)}
        grids = [grids[index] for index in sorted(chosen)]
    return dict(grids)


def first_row(path: Path | None) -> Image.Image | None:
    """The first line of a grid of 8 × 8 pictures, RGBA with transparent frames.

    None if the file is missing, damaged, or of fewer pictures (of few photos).
    """
    picture = read_picture(path) if path else None
    if picture is None:
        return None
    return next(filter(None, (grid_row(picture, GRID, size) for size in IMAGE_SIZES)), None)


def shown_row(path: Path | None) -> Image.Image | None:
    """`first_row`, `ROW_PIXELS` wide."""
    row = first_row(path)
    if row is None:
        return None
    return row.resize((ROW_PIXELS, round(row.height * ROW_PIXELS / row.width)))


def row_title(row: TrialResult) -> str:
    """A trial, what it is ranked by and how it ended, in one line."""
    epoch = "" if row.epoch is None else f", epoch {row.epoch}"
    return (
        f"{trial_name(row.number)}: {in_words(row)}, {row.state.name.lower()}{epoch}, {row.origin}"
    )


def titled_rows(rows: Mapping[str, Image.Image | None]) -> Image.Image:
    """One picture of rows below each other, each under its title. A missing row says so."""
    heights = [TITLE_PIXELS + (row.height if row else TITLE_PIXELS) for row in rows.values()]
    canvas = Image.new("RGB", (ROW_PIXELS, sum(heights)), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    top = 0
    for (title, row), height in zip(rows.items(), heights, strict=True):
        draw.text((4, top + 5), title, (0, 0, 0), font_size=14)
        if row:
            canvas.paste(row, (0, top + TITLE_PIXELS), row)
        else:
            draw.text((4, top + TITLE_PIXELS + 2), MISSING, (110, 110, 110), font_size=12)
        top += height
    return canvas
