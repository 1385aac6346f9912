"""How many trials per second can workers claim, and does exactly one worker get each trial?

    python -m benchmarks.study.coordination

Workers do everything that a trial needs from the study's database (claim, proposal, one score, the
pruner's question, the outcome) and nothing else: no training, no MLflow. The databases are a real
PostgreSQL server, which is started here (it must be installed), and a SQLite file. Afterwards every
trial must exist once, be finished, and have been done by one worker. The sampler is random, because
this measures coordination; `benchmarks.study.growth` measures proposals.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from benchmarks.lib.servers import postgres, postgres_programs
from study.config.space import suggest
from study.config.study_config import StudyConfig
from study.running.claims import Claims
from study.search.pruners import make_pruner
from study.search.samplers import SeededSampler
from study.storage.optuna_db import finished_count, load_optuna_study, open_storage
from study.storage.store import Store

SPACE: dict[str, Any] = {
    "model.nz": {"type": "int", "low": 16, "high": 160, "log": True},
    "model.ngf": {"type": "int", "low": 32, "high": 96, "step": 16},
    "optim.lr_g": {"type": "float", "low": 5e-5, "high": 1e-3, "log": True},
    "augment.rotation_degrees": {"type": "categorical", "choices": [0, 10]},
}


def main() -> None:
    """Measure both databases and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--postgres-workers", type=int, default=32)
    parser.add_argument("--sqlite-workers", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if postgres_programs() is None:
        sys.exit("PostgreSQL (initdb, pg_ctl) is not installed")
    rows = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(postgres())
        shared = Store.at(folder / "postgres", server.url)
        rows.append(measure("PostgreSQL", shared, arguments.postgres_workers, arguments.trials))
        local = Store.at(folder / "sqlite")
        rows.append(measure("SQLite", local, arguments.sqlite_workers, arguments.trials))
    if arguments.json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            print("  ".join(f"{key} {value}" for key, value in row.items()))
    sys.exit(any(row["faults"] for row in rows))


def measure(name: str, store: Store, workers: int, trials: int) -> dict[str, Any]:
    """Let workers do a study, and look at what they did."""
    config = StudyConfig.model_validate(
        {
            "study": {"name": "coordination", "trials": trials},
            "space": SPACE,
            "sampler": {"name": "random"},
        }
    )
    store.create()
    storage = open_storage(store, create=True)
    optuna.create_study(study_name="coordination", storage=storage, direction="minimize")
    storage.engine.dispose()
    context = multiprocessing.get_context("fork")  # what it has imported need not be imported again
    queue: Any = context.Queue()
    barrier = context.Barrier(workers + 1)
    processes = [
        context.Process(target=work, args=(store, config, queue, barrier)) for _ in range(workers)
    ]
    for process in processes:
        process.start()
    barrier.wait()
    started = time.perf_counter()
    done = [queue.get() for _ in processes]
    seconds = time.perf_counter() - started
    for process in processes:
        process.join()
    return {
        "database": name,
        "workers": workers,
        "trials": trials,
        "seconds": round(seconds, 1),
        "trials_per_second": round(trials / seconds, 1),
        "least_and_most_by_a_worker": [min(map(len, done)), max(map(len, done))],
        "faults": inspect(store, trials, [number for numbers in done for number in numbers]),
    }


def work(store: Store, config: StudyConfig, queue: Any, barrier: Any) -> None:
    """One worker: its trials, once all are ready."""
    queue.put(list(without_training(store, config, barrier.wait)))


def without_training(
    store: Store, config: StudyConfig, ready: Callable[[], object] = lambda: None
) -> Iterator[int]:
    """Claim trials as `study.running.worker.work` does, until the total is finished.

    `ready` is called once before. Yields the number of each trial at its end.
    """
    name = config.study.name
    study = load_optuna_study(store, name)
    study.sampler = SeededSampler(config.sampler, config.study.seed)
    study.pruner = make_pruner(config)
    claims, total = Claims(study, store.study(name)), config.study.trials
    ready()
    while finished_count(study) < total:
        with claims.next(total) as claim:
            if claim is None:
                time.sleep(0.05)
                continue
            trial = claim.trial
            score = 1.0 + suggest(trial, config).optim.lr_g
            trial.report(score, step=1)
            trial.should_prune()
            claim.check()
            trial.set_user_attr("fd_random", score)
            trial.set_user_attr("epoch", 1)
            study.tell(trial, score)
            yield trial.number


def inspect(store: Store, total: int, done: list[int], name: str = "coordination") -> list[str]:
    """What was lost, doubled or left over."""
    trials = load_optuna_study(store, name).get_trials(deepcopy=False)
    faults = [] if len(trials) == total else [f"{len(trials)} trials instead of {total}"]
    faults += [f"trial {t.number} is {t.state}" for t in trials if t.state != TrialState.COMPLETE]
    if sorted(done) != list(range(total)):
        faults.append(f"workers did {len(done)} trials, {len(set(done))} different ones")
    return faults


if __name__ == "__main__":
    main()
