"""Section: a study of two workers on the device, run by the shell to its end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from benchmarks.gpu_parts.report import Line, holds
from benchmarks.gpu_parts.setup import Setup, finish, start

NAME = "gpu"
TRIALS, REDUCED_TRIALS = 6, 3
WORKERS = 2
SECONDS = 150.0


def whole_study(setup: Setup) -> Iterator[Line]:
    """Run it, then count its trials in Optuna and in MLflow, and where they trained."""
    trials = REDUCED_TRIALS if setup.reduced else TRIALS
    store, file, log = (setup.scratch / name for name in ("store", "study.yaml", "study.log"))
    file.write_text(yaml.safe_dump(config(setup, trials)), encoding="utf-8")
    words = ["run", file, "--store", store, "--workers", WORKERS]
    words += [] if setup.reduced else ["--trials-per-gpu", WORKERS]
    finish(start("-m", "study.cli", *words, log=log), log, SECONDS)
    states, runs, devices, workers = facts(store)
    yield holds("trials in Optuna", counted(states), f"{trials} COMPLETE")
    yield holds("runs in MLflow", counted(runs), f"{trials} FINISHED")
    yield holds("trained on", counted(devices), f"{trials} {setup.device}")
    yield holds("workers", workers, WORKERS)


def config(setup: Setup, trials: int) -> dict[str, Any]:
    """A small study; nothing is pruned, so that every trial is complete at the end."""
    base: dict[str, dict[str, Any]] = {"eval": {"extractor": "layout", "n_samples": 256}}
    for key, value in setup.settings(train__epochs=2 if setup.reduced else 6).items():
        section, name = key.split(".")
        base.setdefault(section, {})[name] = str(value) if name == "root" else value
    base["eval"]["every_epochs"] = 1 if setup.reduced else 2
    return {
        "study": {"name": NAME, "trials": trials, "seed": 3},
        "space": {
            "model.nz": {"type": "int", "low": 8, "high": 32},
            "optim.lr_g": {"type": "float", "low": 1e-4, "high": 1e-3, "log": True},
        },
        "sampler": {"name": "tpe", "startup_trials": 2},
        "pruner": {"name": "none"},
        "collapse": {"patience_epochs": 0},
        "base": base,
    }


def facts(root: Path) -> tuple[list[str], list[str], list[str], int]:
    """States in Optuna, states in MLflow, devices in the trials' results, number of workers."""
    from mlflow.tracking import MlflowClient

    from study.storage.optuna_db import load_optuna_study
    from study.storage.store import Store

    store = Store.at(root)
    states = [trial.state.name for trial in load_optuna_study(store, NAME).get_trials()]
    client = MlflowClient(tracking_uri=store.mlflow_uri)
    experiment = client.get_experiment_by_name(NAME)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
    folder = store.study(NAME)
    results = [json.loads((it / "result.json").read_text()) for it in folder.trials().values()]
    devices = [result["environment"]["device"] for result in results]
    return states, [run.info.status for run in runs], devices, len(list(folder.workers.iterdir()))


def counted(names: list[str]) -> str:
    """As in `5 COMPLETE, 1 FAIL`."""
    return ", ".join(f"{count} {name}" for name, count in sorted(Counter(names).items()))
