"""`trial.json`: what a trial is and how it ended.

MLflow's run of the trial is made from this file and from the history and pictures beside it.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from optuna.trial import Trial

from dcgan.runtime.files import write_text_atomic
from study.storage.trial_result import SAMPLER

FILE_NAME = "trial.json"


@dataclass
class TrialRecord:
    """One trial; times are seconds since 1970."""

    number: int
    params: dict[str, Any]
    """The searched values by their short names."""
    origin: str
    """`baseline`, `sampler`, or `extended`."""
    baseline: str | None
    """The baseline's name."""
    seed: int
    state: str = "RUNNING"
    """Optuna's state: RUNNING, WAITING (interrupted), COMPLETE, PRUNED, FAIL."""
    reason: str | None = None
    """Why the trial was pruned, failed or interrupted."""
    score: float | None = None
    values: list[float] = field(default_factory=list)
    """What Optuna was told of a complete trial: the score, or the values of its objectives."""
    best_epoch: int | None = None
    """The epoch of a complete trial's best evaluation, whichever counts."""
    rung: int | None = None
    """The rung, from 1, on which it waits or has ended; None without rungs."""
    tries: int = 1
    started: float = 0.0
    ended: float | None = None
    minutes: float = 0.0
    """Time spent on the trial by all processes that ran it."""
    run_id: str | None = None
    """The trial's MLflow run."""
    identity: dict[str, Any] = field(default_factory=dict)
    """Data fingerprint, extractor, code version, environment."""

    @classmethod
    def begun(cls, trial: Trial, seed: int, identity: dict[str, Any]) -> TrialRecord:
        """The record of a trial that begins now."""
        return cls(
            number=trial.number,
            params=dict(trial.params),
            origin=trial.user_attrs.get("origin", SAMPLER),
            baseline=trial.user_attrs.get("baseline"),
            seed=seed,
            started=time.time(),
            identity=identity,
        )

    def save(self, folder: Path) -> None:
        """Write `trial.json` into the trial's folder, atomically."""
        write_text_atomic(folder / FILE_NAME, json.dumps(asdict(self), indent=2) + "\n")

    def attributes(self) -> dict[str, Any]:
        """The user attributes that Optuna keeps of a trial without an evaluation."""
        kept = ("reason", "minutes", "run_id", "seed")
        return {
            **{name: getattr(self, name) for name in kept},
            "code_version": self.identity.get("environment.code_version"),
            "epoch": None,
            "step": None,
            "imbalance": None,
        }

    @classmethod
    def load(cls, folder: Path) -> TrialRecord | None:
        """Read a trial's folder; `None` if its `trial.json` is missing or damaged."""
        try:
            return cls(**json.loads((folder / FILE_NAME).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
