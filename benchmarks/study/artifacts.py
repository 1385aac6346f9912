"""What `--artifacts` adds to a trial: its folder goes to an S3 server of this machine.

    python -m benchmarks.study.artifacts --data PHOTOS

Trials of the reference recipe alternate: with and without. Both write checkpoints every 5 epochs
and at each score. The server (moto's) is on the same processors, which a real one is not, so its
work counts as well. Processor time tells the two apart: that of the trial's own process is what a
trial pays with any server that is reached without encryption. One short trial of each kind is not
counted: it loads libraries. Without --data the photos are 527 toy cats.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from scipy import stats

from benchmarks.lib.servers import S3Server
from benchmarks.study.trial_overhead import Clock
from dcgan.config.settings import override
from study.config.study_config import StudyConfig, load_study_config
from study.running.observer import Event
from study.running.study import run_study
from study.storage.store import Store


class Cost(NamedTuple):
    """What one trial took, in seconds."""

    wall: float
    processor: float
    """Of the process that trains."""
    server: float
    """Processor time of the S3 server."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of photos (default: 527 toy cats)")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--pairs", type=int, default=4, help="trials with and without, each")
    arguments = parser.parse_args()
    settings: dict[str, object] = {
        "study.trials": 1,
        "budget.images": [],
        "train.epochs": arguments.epochs,
        "eval.every_epochs": 10,
        "eval.extractor": "random",
    }
    if arguments.data:
        settings |= {"data.root": str(arguments.data.resolve())}
    else:
        settings |= {"data.source": "toy_cats", "data.toy_count": 527}
    config, server = load_study_config("cats", settings), S3Server()
    os.environ |= server.variables
    try:
        report(config, server, arguments.pairs)
    finally:
        server.stop()


def report(config: StudyConfig, server: S3Server, pairs: int) -> None:
    """Run pairs of trials and print what the second of each takes more."""
    bucket = server.make_bucket("trials")
    costs: dict[str | None, list[Cost]] = {None: [], bucket: []}
    short = override(config, {"base.train.epochs": 1})
    for place in costs:
        cost_of_trial(short, place, server)
    for pair in range(pairs):
        for place in (None, bucket) if pair % 2 else (bucket, None):
            costs[place].append(cost_of_trial(config, place, server))
        plain, shared = costs[None][-1], costs[bucket][-1]
        print(
            f"pair {pair + 1}: {plain.wall:.1f} s without, {shared.wall:.1f} s with --artifacts; "
            f"processor time {plain.processor:.1f} and {shared.processor:.1f} s, and "
            f"{shared.server:.1f} s of the server",
            flush=True,
        )
    for what in ("wall", "processor"):
        alone, beside = seconds_of(costs[None], what), seconds_of(costs[bucket], what)
        print(f"{what} time: {alone.mean():.0f} s, with --artifacts {change(alone, beside)}")


def seconds_of(costs: list[Cost], what: str) -> np.ndarray:
    """One figure of all trials."""
    return np.array([getattr(cost, what) for cost in costs])


def change(alone: np.ndarray, beside: np.ndarray) -> str:
    """By how much pairs differ: the geometric mean of their ratios, and 95 % for that."""
    ratios = np.log(beside) - np.log(alone)
    mean = f"{np.expm1(ratios.mean()):+.1%}"
    if len(ratios) == 1:
        return mean
    low, high = np.expm1(stats.ttest_1samp(ratios, 0).confidence_interval(0.95))
    return f"{mean} ({low:+.1%} to {high:+.1%})"


class Meter(Clock):
    """Notes the processor time beside each mark: of this process and of the server."""

    def __init__(self, server: S3Server) -> None:
        super().__init__()
        self.server = psutil.Process(server.process.pid)
        self.spent: list[tuple[float, float]] = []

    def tell(self, event: Event, worker: int | None = None) -> None:
        """Note both for a `Progressed`."""
        super().tell(event, worker)
        if len(self.spent) < len(self.marks):
            self.spent.append((sum(os.times()[:4]), sum(self.server.cpu_times()[:2])))


def cost_of_trial(config: StudyConfig, place: str | None, server: S3Server) -> Cost:
    """What one trial takes, from its claim to its end in both databases."""
    meter = Meter(server)
    with tempfile.TemporaryDirectory() as folder:
        store = Store.at(Path(folder), shared=place)
        assert run_study(config, store, observer=meter).finished == 1
    (own, serving), (own_after, serving_after) = meter.spent[0], meter.spent[-1]
    return Cost(meter.marks[-1] - meter.marks[0], own_after - own, serving_after - serving)


if __name__ == "__main__":
    main()
