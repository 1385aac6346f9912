"""How much of their time do a study's workers wait?

    python -m benchmarks.study.idle NAME --workers 2 [--store DIR]

It reads a study that one launch has run from its beginning to its end: the time from the first
trial's beginning to the last one's end, and the time that was spent on trials, as their records
have it. What is left has two parts. Between trials there are claims and the databases of Optuna and
MLflow. At the end the last trials are being trained, and there is nothing for the other workers to
do: the ends of the last trials, one for each worker, say for how long.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from study.storage.store import Store
from study.storage.trial_record import TrialRecord


def main() -> None:
    """Read and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="the study")
    parser.add_argument("--workers", type=int, required=True, help="of its launch")
    parser.add_argument("--store", type=Path, help="results folder (default: as for `study`)")
    arguments = parser.parse_args()
    folder = Store.at(arguments.store).study(arguments.name)
    records = [record for path in folder.trials().values() if (record := TrialRecord.load(path))]
    if not records or not all(record.ended for record in records):
        raise SystemExit(f"{folder.path} is not the folder of a study that has ended")
    wall, idle, tail = idle_share(records, arguments.workers)
    if not 0 <= idle < 1:
        raise SystemExit(f"'{arguments.name}' was not run by {arguments.workers} workers at once")
    print(
        f"{len(records)} trials, {arguments.workers} workers, {wall:.1f} min: idle for {idle:.1%}, "
        f"of which {tail:.1%} at the end, with no trial left, and {idle - tail:.1%} between trials"
    )


class Idle(NamedTuple):
    """How long a study took, and the parts of its workers' time in which they had no trial."""

    wall_minutes: float
    """From the first trial's beginning to the last one's end."""
    share: float
    tail: float
    """The part of it after a worker's last trial."""


def idle_share(records: Iterable[TrialRecord], workers: int) -> Idle:
    """How much of their time the workers of a launch waited."""
    kept = list(records)
    ends = sorted(record.ended for record in kept if record.ended is not None)
    seconds = ends[-1] - min(record.started for record in kept)
    busy = 60 * sum(record.minutes for record in kept)
    tail = sum(ends[-1] - end for end in ends[-workers:])
    return Idle(seconds / 60, 1 - busy / (workers * seconds), tail / (workers * seconds))


if __name__ == "__main__":
    main()
