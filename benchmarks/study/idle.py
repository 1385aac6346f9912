"""How much of their time do a study's workers wait?

    python -m benchmarks.study.idle NAME --workers 2 [--store DIR]

It reads a study that one launch has run from its beginning to its end: the time from the first
trial's beginning to the last one's end, and the time that was spent on trials, as their records
have it. What is left are claims, MLflow's and Optuna's databases between trials, and the end, when
the last trials are being trained and there is nothing for the other workers to do.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

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
    wall, idle = idle_share(records, arguments.workers)
    if not 0 <= idle < 1:
        raise SystemExit(f"'{arguments.name}' was not run by {arguments.workers} workers at once")
    print(
        f"{len(records)} trials, {arguments.workers} workers, {wall:.1f} min: idle for {idle:.1%}"
    )


def idle_share(records: Iterable[TrialRecord], workers: int) -> tuple[float, float]:
    """Minutes from the first beginning to the last end, and the part of it that workers waited."""
    kept = list(records)
    ends = [record.ended for record in kept if record.ended is not None]
    wall = (max(ends) - min(record.started for record in kept)) / 60
    return wall, 1 - sum(record.minutes for record in kept) / (workers * wall)


if __name__ == "__main__":
    main()
