"""Samples of the best trials of a study in one picture."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from optuna.trial import TrialState
from PIL import Image, ImageDraw

from dcgan.evaluation.record import in_digits
from dcgan.runtime.pictures import read_picture, save_picture
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import read_evals
from study.results.sample_rows import counting_grid
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
    samples are then on the left, and later ones on the right. Returns whether any trial has
    samples.
    """
    drawn = ((row, grid) for row in rows if (grid := scored_grid(folder, row)))
    tiles = list(islice(drawn, MAX_TILES))
    if not tiles:
        return False
    if first is not None:
        tiles = [
            (row, _after(grid_at(folder, row, first), grid, row, first)) for row, grid in tiles
        ]
    width = tiles[0][1].width
    above = [captions(row) for row, _ in tiles]
    label = 2 + 16 * (max(map(len, above)) + (first is not None))
    columns = min(TILES_PER_ROW * TILE_PIXELS // width, len(tiles))
    lines = -(-len(tiles) // columns)
    size = (columns * (width + 8), lines * (TILE_PIXELS + label + 8))
    sheet = Image.new("RGB", size, (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for index, (row, grid) in enumerate(tiles):
        left = index % columns * (width + 8)
        top = index // columns * (TILE_PIXELS + label + 8)
        for line, text in enumerate(above[index]):
            colour, points = (GREY, 12) if line else ((0, 0, 0), 14)
            draw.text((left + 4, top + 2 + 16 * line), text, colour, font_size=points)
        halves = [] if first is None else [f"epoch {first}"]
        if first not in (None, row.epoch):
            halves.append(f"epoch {row.epoch}")
        for column, text in enumerate(halves):
            place = (left + 4 + column * TILE_PIXELS, top + label - 16)
            draw.text(place, text, GREY, font_size=12)
        sheet.paste(grid, (left, top + label))
    save_picture(sheet, folder.contact_sheet)
    return True


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
    return _corner(counting_grid(RunFolder(folder.trial(row.number)), row))


def grid_at(folder: StudyFolder, row: TrialResult, epoch: int) -> Image.Image | None:
    """A corner of a trial's samples at an epoch; None without, or if their file is damaged."""
    run = RunFolder(folder.trial(row.number))
    step = next((it.step for it in read_evals(run.history) if it.epoch == epoch), None)
    return _corner(None if step is None else run.grids().get(step))


def _after(
    earlier: Image.Image | None, grid: Image.Image, row: TrialResult, first: int
) -> Image.Image:
    """A trial's samples beside those of the `first` epoch; empty places where there are none."""
    both = Image.new("RGB", (2 * TILE_PIXELS, TILE_PIXELS), (255, 255, 255))
    if row.epoch != first or earlier is None:
        both.paste(grid, (TILE_PIXELS, 0))
    if earlier:
        both.paste(earlier, (0, 0))
    return both


def _corner(path: Path | None) -> Image.Image | None:
    picture = read_picture(path) if path else None
    if picture is None:
        return None
    half = picture.width // 2  # the left upper quarter: 16 of 64 samples, large enough to see
    return picture.crop((0, 0, half, half)).resize((TILE_PIXELS, TILE_PIXELS))
