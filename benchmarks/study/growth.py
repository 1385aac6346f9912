"""The cost of a study as it grows: proposing, storing and showing at 100 to 10,000 trials.

    python -m benchmarks.study.growth

For each size a study of the config `cats` is written into a temporary store: parameters, scores,
facts and a picture for every trial. `study show` runs as a command, and a fresh process runs what
surrounds a trial's training. The trials have no runs in MLflow.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import sqlalchemy
import torch

from benchmarks.lib import machine
from benchmarks.lib.grown_study import build
from dcgan.data.bank import load_bank
from study.config.space import suggest
from study.config.study_config import StudyConfig, load_study_config
from study.running.claims import Claims
from study.running.context import open_context
from study.running.observer import Silent
from study.running.publish import publish
from study.storage.optuna_db import finished_count, load_optuna_study
from study.storage.store import Store

SETTINGS = {
    "study.name": "grown",
    "study.trials": 1_000_000,
    "data.source": "toy_cats",
    "data.toy_count": 32,
    "eval.extractor": "random",
    "train.device": "cpu",
    "train.threads": 1,
}
ROUNDS = 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--probe", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.probe:
        print(json.dumps(probe(Store.at(arguments.probe))))
        return
    facts = machine.describe(torch.device("cpu"))
    facts |= {"optuna": optuna.__version__, "sqlalchemy": sqlalchemy.__version__}
    facts["load"] = round(os.getloadavg()[0], 1)
    measured = {count: measure(count) for count in arguments.trials}
    if arguments.json:
        print(json.dumps({**facts, "milliseconds": measured}, indent=2))
        return
    print(", ".join(f"{key} {value}" for key, value in facts.items()))
    print(f"\n| milliseconds at … trials | {' | '.join(f'{count:,}' for count in measured)} |")
    print(f"|---|{'---|' * len(measured)}")
    for key in next(iter(measured.values())):
        cells = [
            f"{row[key]:,.0f}" if row[key] >= 10 else f"{row[key]:.1f}" for row in measured.values()
        ]
        print(f"| {key} | {' | '.join(cells)} |")


def measure(count: int) -> dict[str, float]:
    """Write a study and measure it, in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store.at(Path(folder) / "store")
        build(store, the_config(), count)
        show = [sys.executable, "-m", "study.cli", "show", "grown", "--store", str(store.root)]
        times = {
            **timed_command("`study show`", show, 3),
            **timed_command("`study show --all`", [*show, "--all"], 1),
            **timed_command("`study show --json`", [*show, "--json"], 1),
        }
        command = [sys.executable, "-m", "benchmarks.study.growth", "--probe", str(store.root)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return times | json.loads(done.stdout)


def the_config() -> StudyConfig:
    """The quickstart's config, which searches seven parameters and prunes."""
    return load_study_config("quickstart", SETTINGS)


def timed_command(name: str, command: list[str], repeats: int) -> dict[str, float]:
    """The quickest of a few runs of a command by the clock, and how long it kept a processor."""
    runs = []
    for _ in range(repeats):
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
        busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        runs.append((1000 * wall, 1000 * busy))
    wall, busy = min(runs)
    return {f"{name}, whole command": wall, f"{name}, of it on a processor": busy}


def probe(store: Store) -> dict[str, float]:
    """What a launch and its trials cost beside training, in a process that knows nothing yet.

    Returns:
        Milliseconds; of what is done for every trial, the quickest of five.
    """
    times: dict[str, list[float]] = {}

    @contextmanager
    def timed(what: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        times.setdefault(what, []).append(1000 * (time.perf_counter() - start))

    config = the_config()
    bank = load_bank(config.base.data)
    with timed("opening the study, without MLflow"):
        study = load_optuna_study(store, config.study.name)
    claims = Claims(study, store.study(config.study.name))
    context = open_context(config, claims, store, bank, Silent())
    total = config.study.trials
    with timed("first claim and proposal"), claims.next(total) as first:
        assert first
        suggest(first.trial, config)
    study.tell(first.trial, 30.0)
    for _ in range(ROUNDS):
        with timed("counting the finished"):
            finished_count(study)
        with timed("claim"):
            held = claims.next(total)
            claim = held.__enter__()
            assert claim
            trial = claim.trial
        with timed("proposal"):
            suggest(trial, config)
        with timed("a report"):
            trial.report(30.0, 5)
        with timed("asking the pruner"):
            trial.should_prune()
        with timed("nine facts"):
            for key in "abcdefghi":
                trial.set_user_attr(key, 1.0)
        with timed("the outcome"):
            study.tell(trial, 30.0)
        held.__exit__(None, None, None)
        with timed("publishing"):
            publish(context)
    return {what: min(values) for what, values in times.items()}


if __name__ == "__main__":
    main()
