"""What a trial has come to, and how Optuna's user attributes keep it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import FrozenTrial, TrialState

FIXED = "fixed_params"
"""The system attribute in which Optuna keeps the parameters of an enqueued trial."""
KEPT = ("reason", "minutes", "run_id", "epoch", "imbalance", "seed", "code_version")
"""Fields that the user attributes hold under their own names, `None` included."""
READ = (*KEPT, "baseline", "metric", "metrics")
SHOWN = (
    *("number", "state", "score", "front", "metric", "distances", "imbalance", "epoch"),
    *("params", "minutes", "origin", "reason", "run_id", "metrics"),
)
"""Keys of the plain form, as `study show --json` prints them."""


@dataclass(frozen=True)
class TrialResult:
    """One trial as its study's database has it, without intermediate scores and times.

    Scores, distances, metrics and imbalance are those of the last evaluation: of a pruned trial,
    of the epoch it reached.
    """

    number: int
    state: TrialState
    values: list[float] | None = None
    """One for each objective; a pruned trial's is the last it reported."""
    params: dict[str, Any] = field(default_factory=dict)
    """The searched values by their short names."""
    fixed_params: dict[str, Any] = field(default_factory=dict)
    """The parameters that an enqueued trial will get."""
    score: float | None = None
    """The score in either mode; `None` unless the trial is complete or pruned."""
    front: bool | None = None
    """Whether a leaderboard of two objectives has it on the front; otherwise `None`."""
    metric: str | None = None
    """Name of the distance that is minimised beside the imbalance; otherwise `None`."""
    distances: dict[str, float] = field(default_factory=dict)
    """The Fréchet distance (`fd_…`, `fid…`) and the kernel distance (`kd_…`, `kid…`)."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Metrics that the leaderboard shows beside the distance."""
    imbalance: float | None = None
    epoch: int | None = None
    minutes: float | None = None
    """Time spent on it over all sittings."""
    baseline: str | None = None
    """The baseline's name; `None` for a trial of the sampler."""
    reason: str | None = None
    """Why it was pruned, failed or interrupted, in plain words."""
    run_id: str | None = None
    """Its MLflow run."""
    seed: int | None = None
    code_version: str | None = None

    @property
    def origin(self) -> str:
        """`sampler`, or the baseline's name."""
        return self.baseline or "sampler"

    @property
    def shown_params(self) -> dict[str, Any]:
        """The parameters; before an enqueued trial has any, those it will get."""
        return self.params or self.fixed_params

    @classmethod
    def from_trial(cls, trial: FrozenTrial) -> TrialResult:
        """Convert Optuna's own object."""
        fixed = trial.system_attrs.get(FIXED, {})
        outcome = trial.number, trial.state, trial.values
        return cls.read(*outcome, trial.params, fixed, trial.user_attrs)

    @classmethod
    def read(
        cls,
        number: int,
        state: TrialState,
        values: list[float] | None,
        params: dict[str, Any],
        fixed_params: dict[str, Any],
        attributes: Mapping[str, Any],
    ) -> TrialResult:
        """Convert what Optuna's tables hold of a trial. Earlier releases wrote fewer attributes."""
        score = None
        if state in (TrialState.COMPLETE, TrialState.PRUNED):
            one = values if values and len(values) == 1 else None
            score = float(one[0]) if one else attributes.get("score")
        prefixes = ("fd_", "kd_", "fid", "kid")
        return cls(
            number,
            state,
            values,
            params,
            fixed_params,
            score,
            distances={key: attributes[key] for key in attributes if key.startswith(prefixes)},
            **{name: attributes[name] for name in READ if name in attributes},
        )

    def attributes(self) -> dict[str, Any]:
        """The user attributes that keep it beside Optuna's state, values and parameters."""
        attributes = {name: getattr(self, name) for name in KEPT} | self.distances
        if self.metrics:
            attributes["metrics"] = self.metrics
        if self.metric:  # the score is not Optuna's value
            attributes |= {"score": self.score, "metric": self.metric}
        return attributes

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as `study show --json` prints it."""
        shown = {name: getattr(self, name) for name in SHOWN}
        return shown | {"state": self.state.name, "params": self.shown_params}
