"""The trials by whose scores parameters are compared: they have trained equally long."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from study.config.study_config import StudyConfig


@dataclass(frozen=True)
class Compared:
    """Trials, whose `values` are the scores that compare."""

    trials: list[FrozenTrial]
    epoch: int | None
    """Of the first rung's end, which nearly all trials reach; None for complete trials."""

    def __str__(self) -> str:
        s = "s" * (len(self.trials) != 1)
        if self.epoch is None:
            return f"{len(self.trials)} complete trial{s}"
        return f"{len(self.trials)} trial{s} at epoch {self.epoch}, the end of the first rung"


def compared(config: StudyConfig, trials: Sequence[FrozenTrial]) -> Compared:
    """The complete trials; on rungs, where few are, all by their scores at the first rung's end."""
    if not config.budget.epochs:
        whole = [it for it in trials if it.state == TrialState.COMPLETE and it.values]
        return Compared(whole, None)
    epoch, found = config.budget.epochs[0], []
    for trial in trials:
        if trial.state.is_finished() and epoch in trial.intermediate_values:
            early = copy(trial)
            early.values = [trial.intermediate_values[epoch]]
            found.append(early)
    return Compared(found, epoch)
