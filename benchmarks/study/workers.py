"""Trials per hour: several one-thread workers against one worker with all threads.

    python -m benchmarks.study.workers --data PHOTOS

Trials of a study train the reference recipe. Studies alternate between one worker with the threads
of all processors and one one-thread worker per processor. Everything that belongs to a trial counts
(training, scoring, pictures, checkpoints, both databases), from the start of the first trial to the
end of the last; starting the processes does not. Without --data the photos are toy cats.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.lib import machine
from dcgan.runtime.devices import processors
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import read_evals, read_logs
from study.storage.store import Store
from study.storage.trial_record import TrialRecord

STUDY: dict[str, Any] = {
    "space": {"optim.lr_g": {"type": "float", "low": 2.9e-4, "high": 3.1e-4}},
    "sampler": {"name": "random"},
    "pruner": {"name": "none"},
    "base": {
        "data": {"source": "toy_cats", "toy_count": 527},
        "train": {"grid_every_steps": 1000},
        "eval": {"extractor": "random", "n_samples": 1024},
    },
}


def main() -> None:
    """Run by turns and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--epochs", type=int, default=3, help="of a trial, scored once at its end")
    parser.add_argument("--trials", type=int, default=4, help="of a study")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    cpus = processors()
    cases = {f"1 worker, {cpus} threads": (1, cpus), f"{cpus} workers, 1 thread each": (cpus, 1)}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in cases}
    for _ in range(arguments.turns):
        for name, (workers, threads) in cases.items():
            runs[name].append(measure(arguments, workers, threads))
    rows = {
        name: {key: round(statistics.median(run[key] for run in found), 1) for key in found[0]}
        for name, found in runs.items()
    }
    one, several = (row["trials_per_hour"] for row in rows.values())
    facts = machine.describe(torch.device("cpu"))
    if arguments.json:
        print(json.dumps({**facts, "cases": rows, "ratio": several / one}, indent=2))
        return
    print(", ".join(f"{key} {value}" for key, value in facts.items()))
    for name, row in rows.items():
        print(f"{name}: {', '.join(f'{key} {value}' for key, value in row.items())}")
    print(f"several workers: {several / one:.2f} times the trials an hour")


def measure(arguments: argparse.Namespace, workers: int, threads: int) -> dict[str, float]:
    """One study; medians of its trials."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config, store = folder / "workers.yaml", Store.at(folder / "store")
        config.write_text(yaml.safe_dump(STUDY), encoding="utf-8")
        command = [sys.executable, "-m", "study.cli", "run", str(config)]
        command += ["--store", str(store.root), "--trials", str(arguments.trials)]
        command += ["--workers", str(workers), "--set", f"train.threads={threads}"]
        command += ["--set", f"train.epochs={arguments.epochs}"]
        command += ["--set", f"eval.every_epochs={arguments.epochs}", "--set", "train.device=cpu"]
        if arguments.data:
            command += ["--data", str(arguments.data)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        folders = [store.study("workers").trial(number) for number in range(arguments.trials)]
        records = [record for path in folders if (record := TrialRecord.load(path))]
        ended = max(record.ended or 0.0 for record in records)
        seconds = ended - min(record.started for record in records)
        histories = [RunFolder(path).history for path in folders]
        return {
            "trials_per_hour": 3600 * len(records) / seconds,
            "seconds_a_trial": statistics.median(60 * record.minutes for record in records),
            "images_per_second": statistics.median(
                log.images_per_second for history in histories for log in read_logs(history)
            ),
            "scoring_seconds": statistics.median(
                scored.seconds for history in histories for scored in read_evals(history)
            ),
        }


if __name__ == "__main__":
    main()
