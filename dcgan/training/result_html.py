"""What a notebook shows of a finished run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcgan.evaluation.score_table import score_rows
from dcgan.runtime import html
from dcgan.runtime.digits import in_digits
from dcgan.runtime.pictures import read_picture
from dcgan.training.run.folder import RunFolder

if TYPE_CHECKING:
    from dcgan.training.loop import TrainResult

MOST_PIXELS = 540
"""Width and height of the picture."""


def result_html(result: TrainResult) -> str:
    """The scores, those that count first, the notes and the closing samples."""
    early = ", ended early" if result.stopped_early else ""
    title = (
        f"{result.epochs} epochs{early}, {result.steps} steps in {result.training_seconds:.0f} s "
        f"({result.images_per_second:.0f} images/s)"
    )
    notes = (*result.picture_faults, *result.photo_notes, *result.notes)
    return html.shown(
        html.heading(title),
        _scores(result),
        *(html.sentence(line) for line in _fid(result)),
        *(html.sentence(f"Note: {note}") for note in notes),
        _samples(result),
    )


def _scores(result: TrainResult) -> str:
    first = result.selected
    which = "best" if result.select == "best" else "last"
    columns = {f"{which}, epoch {first.epoch} (counts)": first}
    second = result.final if which == "best" else result.best
    if second != first:
        columns[f"{'last' if which == 'best' else 'best'}, epoch {second.epoch}"] = second
    headings = [text for name in columns for text in (name, "95 %, or ± s.e.")]
    metrics = [record.metrics for record in columns.values()]
    rows = score_rows(metrics, first.frechet_metric, first.kernel_metric)
    balances = [text for record in columns.values() for text in (record.balance, "")]
    return html.table(["", *headings], [*rows, ["imbalance", *balances]])


def _fid(result: TrainResult) -> list[str]:
    """A line for each distance that was computed once at the end."""
    count = result.selected.n_samples
    return [
        f"{name} {in_digits(result.fid[name])} (95 %: {in_digits(result.fid[f'{name}_low'])} – "
        f"{in_digits(result.fid[f'{name}_high'])}; n = {count})"
        for name in ("fid", "fid_custom")
        if name in result.fid
    ]


def _samples(result: TrainResult) -> str:
    """The closing grid, or a sentence where it cannot be read."""
    path = RunFolder(result.folder).final_grid
    grid = read_picture(path)
    if grid is None:
        return html.sentence(f"No picture: {path} is not there, or is damaged.")
    grid.thumbnail((MOST_PIXELS, MOST_PIXELS))
    return html.figure(
        grid, f"Samples of the evaluation that counts (epoch {result.selected.epoch})"
    )
