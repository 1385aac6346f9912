"""What tests of machines that share a study have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from optuna.trial import FrozenTrial

from study.storage.store import Store

PATIENCE_SECONDS = 180.0
ONE_STEP_AN_EPOCH = {
    "batch_size": 32,
    "device": "cpu",
    "threads": 1,
    "ema_half_life_images": 20,
    "grid_every_steps": 1000,
    "log_every_steps": 1,
}
"""`base.train` of the tiny study, without a length: its 32 photos are one batch."""


def options(store: Store, *, tracking: bool = True) -> list[str]:
    """What the shell says for a store."""
    assert store.storage
    assert store.tracking
    shared = ["--store", str(store.root), "--storage", store.storage]
    return [*shared, "--tracking-uri", store.tracking] if tracking else shared


def check_mirror(shown: Any, trials: Sequence[FrozenTrial]) -> None:
    """Every trial is in MLflow once and whole; `shown` is the study's mirror."""
    runs = shown.runs("trial")
    numbers = [int(run.data.tags["optuna.trial_number"]) for run in runs]
    assert numbers == list(range(len(trials))), [
        (run.data.tags, run.info.run_id, run.info.status) for run in runs
    ]
    for trial, run in zip(trials, runs, strict=True):
        assert run.info.status == "FINISHED"
        assert run.data.metrics["objective"] == pytest.approx(trial.value)
        points = shown.points(run)
        assert len(points) == len(set(points))
        assert {"config.yaml", "samples_final.png"} <= shown.artifacts(run)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)
