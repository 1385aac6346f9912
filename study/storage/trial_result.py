"""The result of a trial, as Optuna's database keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import FrozenTrial, TrialState

FIXED = "fixed_params"
"""The system attribute in which Optuna keeps the parameters of an enqueued trial."""
PAUSED, WENT_ON, ENDED_ON = "rung", "went_on", "ended_on"
"""User attributes of a trial in a study with rungs: the rung, from 1, at whose end it waits, the
last one from which it went on, and the one at whose end it was complete."""
SAMPLER, BASELINE, EXTENDED, REPEATED = "sampler", "baseline", "extended", "repeated"
"""Values of the user attribute `origin`; none means proposed by the sampler. An extended trial
continues one that the sampler of an earlier study had proposed; a repeated one trains it on another
seed."""
CONTINUES = "continues"
"""User attribute: study and number of the trial from whose checkpoint the trial continues."""
VALUES_BY_EPOCH = "values_by_epoch"
"""User attribute with several objectives: epoch → the values of the evaluation there."""
DOOMED = "doomed"
"""User attribute: the epoch at which the pruner would have stopped the trial, which trained on."""
REVIVED = "revived"
"""User attribute: the trial was stopped for its score, and a person let it go on to its end."""
ATTEMPT = "attempt"
"""User attribute: how often a process has begun the trial; only if its folder travels."""
REASON = "reason"
"""User attribute: why a trial ended early."""
HOPELESS = "hopeless"
"""How the reason of a trial begins that was stopped for its score."""
ATTRIBUTES = (
    *(REASON, "minutes", "run_id", "epoch", "step", "imbalance", "seed", "code_version"),
    *("baseline", "metric", "metrics", PAUSED, WENT_ON, ENDED_ON),
)
"""Fields that are user attributes of the same name."""
SHOWN = (
    *("number", "state", "score", "front", "metric", "distances", "imbalance", "epoch"),
    *("params", "minutes", "origin", "reason", "run_id", "metrics", "rung"),
)
"""Keys of the plain form, as `study show --json` prints them."""


@dataclass(frozen=True)
class TrialResult:
    """One trial; scores, distances, metrics, imbalance, epoch and step are of one evaluation.

    It is the one that counts (`eval.select`) if the trial is complete, else the last.
    """

    number: int
    state: TrialState
    values: list[float] | None = None
    """One for each objective; a pruned trial has the last score that it reported."""
    params: dict[str, Any] = field(default_factory=dict)
    """The searched values by their short names."""
    fixed_params: dict[str, Any] = field(default_factory=dict)
    """The parameters that an enqueued trial will get."""
    score: float | None = None
    """The score in either mode; `None` unless the trial is complete or pruned."""
    front: bool | None = None
    """Whether the trial is on the Pareto front; `None` with one objective."""
    metric: str | None = None
    """Name of the distance that is minimised beside the imbalance; `None` with one objective."""
    distances: dict[str, float] = field(default_factory=dict)
    """The Fréchet distance (`fd_…`, `fid…`) and the kernel distance (`kd_…`, `kid…`)."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Metrics that the leaderboard shows beside the distance."""
    imbalance: float | None = None
    epoch: int | None = None
    step: int | None = None
    minutes: float | None = None
    """Time spent on the trial by all processes that ran it."""
    baseline: str | None = None
    """The baseline's name; `None` for a trial of the sampler."""
    extended: bool = False
    """Whether `baseline` names a trial of an earlier study, which was none and trains again."""
    reason: str | None = None
    """Why the trial was pruned, failed or interrupted."""
    run_id: str | None = None
    """The trial's MLflow run."""
    rung: int | None = None
    """The rung, from 1, at whose end the trial waits."""
    went_on: int | None = None
    """The last rung from which the trial went on."""
    ended_on: int | None = None
    """The rung at whose end the trial was complete; a baseline waits on none before."""
    seed: int | None = None
    code_version: str | None = None

    @property
    def on_rung(self) -> int:
        """The rung, from 1, on which the trial is or has ended; 1 without rungs."""
        return self.rung or self.ended_on or (self.went_on or 0) + 1

    @property
    def has_collapsed(self) -> bool:
        """Whether it ended early, and not for its score or to wait on a rung."""
        early = self.state == TrialState.PRUNED and self.rung is None and bool(self.reason)
        return early and not str(self.reason).startswith(HOPELESS)

    @property
    def is_baseline(self) -> bool:
        """Whether the trial is something known that others are compared with."""
        return self.baseline is not None and not self.extended

    @property
    def origin(self) -> str:
        """`sampler`, the baseline's name, or the trial that is continued."""
        return self.baseline or SAMPLER

    @property
    def shown_params(self) -> dict[str, Any]:
        """The parameters; of an enqueued trial that has none yet, those it will get."""
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
        """Convert the columns of Optuna's tables. Earlier releases wrote fewer attributes."""
        score = None
        if state in (TrialState.COMPLETE, TrialState.PRUNED):
            score = float(values[0]) if values and len(values) == 1 else attributes.get("score")
        prefixes = ("fd_", "kd_", "fid", "kid")
        return cls(
            number,
            state,
            values,
            params,
            fixed_params,
            score,
            extended=attributes.get("origin") in (EXTENDED, REPEATED),
            distances={key: attributes[key] for key in attributes if key.startswith(prefixes)},
            **{name: attributes[name] for name in ATTRIBUTES if name in attributes},
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as `study show --json` prints it."""
        shown = {name: getattr(self, name) for name in SHOWN}
        rung = self.on_rung if self.rung or self.went_on or self.ended_on else None
        return shown | {"state": self.state.name, "params": self.shown_params, "rung": rung}
