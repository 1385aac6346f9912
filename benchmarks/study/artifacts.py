"""What `--artifacts` adds to a trial: its folder goes to an S3 server of this machine.

    python -m benchmarks.study.artifacts --data PHOTOS

Trials of the reference recipe alternate: with and without. Both write checkpoints every 5 epochs
and at each score. The server (moto's) is on the same processors, which a real one is not, so its
work counts as well. Without --data the photos are 527 toy cats.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.lib.servers import S3Server
from benchmarks.study.trial_overhead import Clock
from study.config.study_config import StudyConfig, load_study_config
from study.running.study import run_study
from study.storage.store import Store


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of photos (default: 527 toy cats)")
    parser.add_argument("--epochs", type=int, default=20)
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
        report(config, server.make_bucket("trials"), arguments.pairs)
    finally:
        server.stop()


def report(config: StudyConfig, bucket: str, pairs: int) -> None:
    """Run pairs of trials and print what the second of each takes more."""
    seconds: dict[str | None, list[float]] = {None: [], bucket: []}
    for pair in range(pairs):
        for place in (None, bucket) if pair % 2 else (bucket, None):
            seconds[place].append(trial_seconds(config, place))
        plain, shared = seconds[None][-1], seconds[bucket][-1]
        print(f"pair {pair + 1}: {plain:.1f} s without, {shared:.1f} s with --artifacts")
    ratios = np.log(seconds[bucket]) - np.log(seconds[None])
    change = f"{np.expm1(ratios.mean()):+.1%}"
    if pairs > 1:
        low, high = np.expm1(stats.ttest_1samp(ratios, 0).confidence_interval(0.95))
        change = f"{change} ({low:+.1%} to {high:+.1%})"
    print(f"with --artifacts a trial of {statistics.mean(seconds[None]):.0f} s takes {change}")


def trial_seconds(config: StudyConfig, place: str | None) -> float:
    """How long one trial takes, from its claim to its end in both databases."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        store = Store.at(Path(folder), shared=place)
        assert run_study(config, store, observer=clock).finished == 1
    return clock.marks[-1] - clock.marks[0]


if __name__ == "__main__":
    main()
