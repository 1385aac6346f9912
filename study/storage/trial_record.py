"""`trial.json`: what a trial is and how it ended, beside its run's own files.

Together with the run's history and pictures it is all that MLflow shows of the trial.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from dcgan.runtime.files import write_text_atomic
from study.storage.trial_result import TrialResult

FILE_NAME = "trial.json"


@dataclass
class TrialRecord:
    """One trial; times are seconds since 1970."""

    number: int
    params: dict[str, Any]
    """The searched values by their short names."""
    origin: str
    """`baseline` or `sampler`."""
    baseline: str | None
    """The baseline's name."""
    seed: int
    state: str = "RUNNING"
    """Optuna's state: RUNNING, WAITING (interrupted), COMPLETE, PRUNED, FAIL."""
    reason: str | None = None
    """Why it was pruned, failed or interrupted, in plain words."""
    score: float | None = None
    values: list[float] = field(default_factory=list)
    """What Optuna was told of a complete trial: the score, or distance and imbalance."""
    tries: int = 1
    started: float = 0.0
    ended: float | None = None
    minutes: float = 0.0
    """Time spent on it over all sittings."""
    run_id: str | None = None
    """Its MLflow run."""
    identity: dict[str, Any] = field(default_factory=dict)
    """Data fingerprint, extractor, code version, environment."""

    def save(self, folder: Path) -> None:
        """Write it into the trial's folder, atomically."""
        write_text_atomic(folder / FILE_NAME, json.dumps(asdict(self), indent=2) + "\n")

    def result(self) -> TrialResult:
        """The trial's result, apart from its last evaluation."""
        return TrialResult(
            self.number,
            TrialState[self.state],
            self.values or None,
            self.params,
            score=self.score,
            minutes=self.minutes,
            baseline=self.baseline,
            reason=self.reason,
            run_id=self.run_id,
            seed=self.seed,
            code_version=self.identity.get("environment.code_version"),
        )

    @classmethod
    def load(cls, folder: Path) -> TrialRecord | None:
        """Read it from the trial's folder; `None` if it is missing or damaged."""
        try:
            return cls(**json.loads((folder / FILE_NAME).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
