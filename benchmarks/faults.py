"""A campaign of kills: what does a study lose when its processes die at random moments?

    python benchmarks/faults.py [--kills 200] [--workers 1 2] [--seed 0] [--json]

Small studies on toy cats are launched, disturbed and launched again until each has ended. A moment
is drawn at random, then a victim (the launcher, one of its workers, or all of them) and a signal
(mostly SIGKILL, at times SIGTERM). After at most `--kills-per-study` of them a study may end in
peace. Then Optuna and MLflow are compared trial by trial, and with one worker every parameter,
score and intermediate value with those of a study that nothing disturbed.

Launches are forks of this process, which has imported everything, so that kills find a study at
work and not at its imports.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from mlflow.tracking import MlflowClient
from servers import children

import study.launch  # imported for the forks
import study.show  # noqa: F401
from study.cli import main as study_command
from study.storage import load_optuna_study
from study.store import Store
from study.tracking import STATUS

STUDY: dict[str, Any] = {
    "study": {"name": "faults", "trials": 4, "seed": 3},
    "space": {
        "model.nz": {"type": "int", "low": 4, "high": 16},
        "optim.lr_g": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    },
    "sampler": {"name": "tpe", "startup_trials": 2},
    "pruner": {"name": "median", "startup_trials": 1},
    "base": {
        "data": {"source": "toy_cats", "toy_count": 48, "image_size": 32},
        "model": {"nz": 8, "ngf": 8, "ndf": 8},
        "train": {"epochs": 24, "batch_size": 16, "device": "cpu", "threads": 1},
        "eval": {"extractor": "random", "n_samples": 64, "every_epochs": 4},
    },
}
STUCK_SECONDS = 240.0


def main() -> None:
    """Disturb, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="in all")
    parser.add_argument("--kills-per-study", type=int, default=8)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        config = folder / "faults.yaml"
        config.write_text(yaml.safe_dump(STUDY), encoding="utf-8")
        peace = Store.at(folder / "peace")
        wait(launch(config, peace, 1))
        expected = essence(peace)
        rows = [
            campaign(config, folder, workers, arguments, expected) for workers in arguments.workers
        ]
    if arguments.json:
        print(json.dumps({"seed": arguments.seed, "rows": rows}, indent=2))
    else:
        print(f"seed {arguments.seed}")
        for row in rows:
            print("  ".join(f"{key} {value}" for key, value in row.items()))
    sys.exit(any(row["faults"] for row in rows))


def campaign(
    config: Path, folder: Path, workers: int, arguments: argparse.Namespace, expected: Any
) -> dict[str, Any]:
    """Studies with this many workers, until their share of the kills is used up."""
    rng = random.Random(f"{arguments.seed} {workers}")
    left = arguments.kills // len(arguments.workers)
    counts: Counter[str] = Counter()
    faults: list[str] = []
    number = 0
    while left > 0:
        store = Store.at(folder / f"{workers}-{number}")
        kills = disturb(config, store, workers, min(left, arguments.kills_per_study), rng)
        counts.update(kills)
        left -= sum(kills.values()) or 1
        found = inspect(store)
        if workers == 1 and essence(store) != expected:
            found.append("numbers differ from the undisturbed study's")
        faults += [f"study {number}: {fault}" for fault in found]
        for fault in found:
            print(f"study {number}: {fault}", file=sys.stderr)
        shutil.rmtree(store.root)
        number += 1
        done = f"{workers} workers: {sum(counts.values())} kills, {len(faults)} faults"
        print(done, file=sys.stderr)
    return {
        "workers": workers,
        "studies": number,
        "kills": sum(counts.values()),
        **dict(sorted(counts.items())),
        "faults": faults,
    }


def disturb(
    config: Path, store: Store, workers: int, most: int, rng: random.Random
) -> Counter[str]:
    """Run one study to its end, with kills on the way."""
    kills: Counter[str] = Counter()
    while True:
        process = launch(config, store, workers)
        if sum(kills.values()) < most:
            time.sleep(rng.uniform(0.0, 4.0 if workers == 1 else 14.0))
            victims = {"launcher": [process], "all": [*children(process), process]}
            if workers > 1 and victims["all"][:-1]:
                victims["worker"] = [rng.choice(victims["all"][:-1])]
            name = rng.choice(sorted(victims))
            number = signal.SIGKILL if rng.random() < 0.8 else signal.SIGTERM
            if os.waitpid(process, os.WNOHANG) != (0, 0):
                return kills  # it ended before
            for pid in victims[name]:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
            kills[f"{name} {signal.Signals(number).name}"] += 1
            if wait(process) == 0:
                return kills
            continue
        code = wait(process)
        if code == 0:
            return kills
        raise SystemExit(f"a study that nothing disturbed any more ended with {code}: {store.root}")


def launch(config: Path, store: Store, workers: int) -> int:
    """Start `study run` in a fork; returns its process number."""
    pid = os.fork()
    if pid:
        return pid
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    sys.argv = ["study", "run", str(config), "--store", str(store.root), "--workers", str(workers)]
    code: Any = 1
    try:
        study_command()
        code = 0
    except SystemExit as end:
        code = end.code
    finally:
        os._exit(code if isinstance(code, int) else bool(code))


def wait(process: int) -> int:
    """Its exit code, below 0 for a signal.

    Raises:
        SystemExit: it hangs.
    """
    deadline = time.monotonic() + STUCK_SECONDS
    while time.monotonic() < deadline:
        pid, status = os.waitpid(process, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    raise SystemExit(f"process {process} has not ended for {STUCK_SECONDS:.0f} s")


def essence(store: Store) -> list[Any]:
    """What of every trial must not depend on what happened meanwhile."""
    return [
        (trial.number, trial.state.name, trial.params, trial.values, trial.intermediate_values)
        for trial in load_optuna_study(store, "faults").get_trials()
    ]


def inspect(store: Store) -> list[str]:
    """What is wrong with an ended study: lost, double, unfinished, or shown otherwise in MLflow."""
    total = STUDY["study"]["trials"]
    trials = load_optuna_study(store, "faults").get_trials()
    faults = [] if len(trials) == total else [f"{len(trials)} trials instead of {total}"]
    faults += [f"trial {t.number} is {t.state.name}" for t in trials if not t.state.is_finished()]
    faults += [f"trial {t.number} failed" for t in trials if t.state.name == "FAIL"]
    client = MlflowClient(tracking_uri=store.mlflow_uri)
    experiment = client.get_experiment_by_name("faults")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
    by_number = {int(run.data.tags["optuna.trial_number"]): run for run in runs}
    if len(runs) != len(trials) or set(by_number) != {trial.number for trial in trials}:
        faults.append(f"{len(runs)} runs in MLflow for {len(trials)} trials")
    for trial in trials:
        run = by_number.get(trial.number)
        if run is None:
            continue
        if run.info.status != STATUS[trial.state.name]:
            faults.append(f"trial {trial.number} is {run.info.status} in MLflow")
        expected = trial.value if trial.state.name == "COMPLETE" else None  # pruned: none is shown
        if run.data.metrics.get("objective") != expected:
            faults.append(f"trial {trial.number} has another objective in MLflow")
        for key in run.data.metrics:
            points = [
                (p.step, p.timestamp) for p in client.get_metric_history(run.info.run_id, key)
            ]
            if len(points) != len({step for step, _ in points}):
                faults.append(f"trial {trial.number} has points of {key} twice")
    return faults


if __name__ == "__main__":
    main()
