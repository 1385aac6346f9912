"""Samples of the best trials of a study in one picture."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import NamedTuple

from optuna.trial import TrialState
from PIL import Image, ImageDraw

from dcgan.evaluation.record import in_digits
from dcgan.runtime.pictures import read_picture, save_picture
from dcgan.training.run.folder import RunFolder
from study.results.sample_rows import counting_grid, grids_by_epoch
from study.results.wording import number, recognised_in_words
from study.storage.store import StudyFolder, trial_name
from study.storage.trial_result import TrialResult

MAX_TILES = 60
"""A picture of thousands could not be opened, and nobody would look at its end."""
TILE_PIXELS = 266
TILES_PER_ROW = 4
GREY = (110, 110, 110)


def draw_contact_sheet(
    rows: list[TrialResult], folder: StudyFolder, first: int | None = None
) -> bool:
    """Draw a corner of the samples of the best `MAX_TILES` trials in one picture.

    Those of a complete trial are of the evaluation that counts, those of others the latest. `rows`
    is the leaderboard, best first. `first` is the epoch at the end of a study's first rung, whose
    samples, or those of a trial before it, are then on the left, and later ones on the right.
    Returns whether any trial has samples.
    """
    drawn = ((row, pictures_of(folder, row, first)) for row in rows)
    shown = ((row, pictures) for row, pictures in drawn if any(it.corner for it in pictures))
    tiles = list(islice(shown, MAX_TILES))
    if not tiles:
        return False
    width = TILE_PIXELS * len(tiles[0][1])
    above = [captions(row) for row, _ in tiles]
    label = 2 + 16 * (max(map(len, above)) + (first is not None))
    columns = min(TILES_PER_ROW * TILE_PIXELS // width, len(tiles))
    lines = -(-len(tiles) // columns)
    size = (columns * (width + 8), lines * (TILE_PIXELS + label + 8))
    sheet = Image.new("RGB", size, (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for index, (_, pictures) in enumerate(tiles):
        left = index % columns * (width + 8)
        top = index // columns * (TILE_PIXELS + label + 8)
        for line, text in enumerate(above[index]):
            colour, points = (GREY, 12) if line else ((0, 0, 0), 14)
            draw.text((left + 4, top + 2 + 16 * line), text, colour, font_size=points)
        for column, picture in enumerate(pictures):
            place = left + column * TILE_PIXELS
            draw.text((place + 4, top + label - 16), picture.label, GREY, font_size=12)
            if picture.corner:
                sheet.paste(picture.corner, (place, top + label))
    save_picture(sheet, folder.contact_sheet)
    return True


class Picture(NamedTuple):
    """A corner of a trial's samples, None if there are none or their file is damaged."""

    label: str
    corner: Image.Image | None


NOTHING = Picture("", None)


def pictures_of(folder: StudyFolder, row: TrialResult, first: int | None) -> list[Picture]:
    """The samples that count; with a `first` epoch, those of that epoch and later ones."""
    run = RunFolder(folder.trial(row.number))
    path = counting_grid(run, row)
    if first is None:
        return [Picture("", _corner(path))]
    by_epoch = grids_by_epoch(run)
    moments = {grid: f"step {step}" for step, grid in run.grids().items()}
    moments |= {grid: f"epoch {epoch}" for epoch, grid in by_epoch.items()}
    early = by_epoch.get(first)
    latest = Picture(moments[path], _corner(path)) if path else NOTHING
    if early is None:  # the trial has not come so far
        return [latest, NOTHING]
    return [Picture(moments[early], _corner(early)), latest if path != early else NOTHING]


def captions(row: TrialResult) -> list[str]:
    """The lines above a tile: the trial with what it is ranked by, and how it ended.

    A share of recognised images that is an objective has a third line.
    """
    if row.metric:
        ranked = f"{in_digits(row.distances[row.metric])}, imbalance {number(row.imbalance, 2)}"
    else:
        ranked = "" if row.score is None else f"score {in_digits(row.score)}"
    front = "front, " if row.front else ""
    epoch = "" if row.epoch is None else f", epoch {row.epoch}"
    title = f"{trial_name(row.number)}  {ranked}"
    state = row.state.name.lower()
    if row.rung and row.state == TrialState.PRUNED:
        state = f"waits on rung {row.rung}"
    elif row.went_on:
        state += f", rung {row.on_rung}"
    ended = f"{front}{state}{epoch}, {row.origin}"
    return [title, ended, *map(recognised_in_words, (row.values or [])[2:])]


def scored_grid(folder: StudyFolder, row: TrialResult) -> Image.Image | None:
    """A corner of the samples of the evaluation that counts; the latest of an unfinished trial.

    None if there are none, or if their file is damaged.
    """
    return pictures_of(folder, row, None)[0].corner


def _corner(path: Path | None) -> Image.Image | None:
    picture = read_picture(path) if path else None
    if picture is None:
        return None
    half = picture.width // 2  # the left upper quarter: 16 of 64 samples, large enough to see
    return picture.crop((0, 0, half, half)).resize((TILE_PIXELS, TILE_PIXELS))
