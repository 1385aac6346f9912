"""A study's trials as a table, and images of some side by side: the real study of docs/study.md.

    python -m benchmarks.search.study_table cats --csv FILE --picture FILE --show 0 1 18

The table has a trial's scores on the way and its parameters, from Optuna's database. The picture
has the upper left corner of each chosen trial's last samples.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from optuna.trial import FrozenTrial
from PIL import Image

from dcgan.training.run.folder import RunFolder
from study.storage.optuna_db import briefly
from study.storage.store import Store, StudyFolder

EPOCHS = (20, 40, 90, 130, 171)
"""Of the scores in the table: where the rungs of `cats` end, and between."""
CORNER_PIXELS, GAP_PIXELS = 396, 15
"""Three by three images of 128 pixels with their frames; the space between two trials."""


def main() -> None:
    """Write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="the study")
    parser.add_argument("--store", type=Path, help="results folder (default: as for `study`)")
    parser.add_argument("--csv", type=Path, help="where the table goes")
    parser.add_argument("--picture", type=Path, help="where the picture goes")
    parser.add_argument("--show", nargs="+", type=int, default=[0, 1], help="trials in the picture")
    parser.add_argument("--epochs", nargs="+", type=int, default=EPOCHS, help="scores in the table")
    arguments = parser.parse_args()
    store = Store.at(arguments.store)
    if arguments.csv:
        with briefly(store, arguments.name) as study:
            write_table(arguments.csv, study.get_trials(deepcopy=False), arguments.epochs)
    if arguments.picture:
        corners(store.study(arguments.name), arguments.show).save(arguments.picture, quality=80)


def write_table(path: Path, trials: Iterable[FrozenTrial], epochs: Sequence[int]) -> None:
    """A line for each trial; a score that a trial did not reach is empty."""
    rows = []
    for trial in trials:
        scores = trial.intermediate_values
        row = {
            "trial": trial.number,
            "origin": trial.user_attrs.get("origin", "sampler"),
            "state": trial.state.name.lower(),
            "epoch": max(scores, default=""),
        }
        row |= {f"score_{it}": _brief(scores[it]) if it in scores else "" for it in epochs}
        rows.append(row | {name: _brief(value) for name, value in trial.params.items()})
    with path.open("w", newline="", encoding="utf-8") as file:
        columns = dict.fromkeys(name for row in rows for name in row)
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def corners(folder: StudyFolder, trials: Sequence[int]) -> Image.Image:
    """The upper left corners of trials' last samples, in a row."""
    width = len(trials) * (CORNER_PIXELS + GAP_PIXELS) - GAP_PIXELS
    row = Image.new("RGB", (width, CORNER_PIXELS), "white")
    for place, number in enumerate(trials):
        with Image.open(RunFolder(folder.trial(number)).final_grid) as samples:
            corner = samples.crop((0, 0, CORNER_PIXELS, CORNER_PIXELS))
        row.paste(corner, (place * (CORNER_PIXELS + GAP_PIXELS), 0))
    return row


def _brief(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


if __name__ == "__main__":
    main()
