"""What a trial reports to Optuna while it trains, and whether it should go on."""

from __future__ import annotations

from pathlib import Path

from optuna.trial import Trial

from dcgan.config.train_config import TrainConfig
from dcgan.evaluation.record import EvalRecord, in_digits
from dcgan.training.run.checkpoint import load_checkpoint
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import read_evals, read_history
from study.config.study_config import StudyConfig
from study.search.collapse import collapse_reason
from study.search.dominated import why_dominated
from study.search.fair import Fair, is_audited
from study.search.objective import score_of, values_of
from study.search.rungs import Rungs
from study.storage.optuna_db import stored_trial
from study.storage.trial_result import (
    DOOMED,
    HOPELESS,
    REVIVED,
    SAMPLER,
    VALUES_BY_EPOCH,
    WENT_ON,
)


class Reporter:
    """Reports scores to Optuna, each epoch once, asks the pruner, and stops at the end of a rung.

    With several objectives Optuna takes no reports, so the values are kept as an attribute.
    """

    def __init__(
        self, trial: Trial, config: StudyConfig, train_config: TrainConfig, folder: RunFolder
    ) -> None:
        self.trial = trial
        self.config, self.train_config, self.folder = config, train_config, folder
        self.reported = set(stored_trial(trial.study, trial).intermediate_values)
        attributes = trial.user_attrs
        by_sampler = attributes.get("origin", SAMPLER) == SAMPLER
        self.prunable = by_sampler and not attributes.get(REVIVED, False)
        """Whether anything may stop it early: baselines and revived trials train to their end."""
        self.ranked = config.objective.mode == "score"
        self.values_by_epoch: dict[str, list[float]] = dict(attributes.get(VALUES_BY_EPOCH, {}))
        share = config.pruner.audit
        self.audited = self.ranked and is_audited(share, config.study.seed, trial.number)
        """Whether it trains on where the pruner would stop it."""
        self.rungs = Rungs.of(config)
        self.went_on: int = trial.user_attrs.get(WENT_ON, 0)
        self.score: float | None = None
        self.pruned_because: str | None = None
        self.paused: int | None = None
        """The rung at whose end the trial stops, to go on from there if it is among the best."""

    @property
    def goal_epoch(self) -> int:
        """The epoch at which the trial stops unless something ends it before: a rung's, or all."""
        if self.rungs is None or not self.prunable:
            return self.train_config.train.epochs
        return self.rungs.epochs[self.went_on]

    def report(self, record: EvalRecord) -> bool:
        """Report one evaluation; true means the trial cannot win and should end."""
        self.score = score_of(record, self.config.objective)
        epoch = record.epoch
        # A continued trial repeats scores that it reported before.
        if self.ranked and epoch not in self.reported:
            self.trial.report(self.score, step=epoch)
            self.reported.add(epoch)
        if not self.ranked and str(epoch) not in self.values_by_epoch:
            self.values_by_epoch[str(epoch)] = list(values_of(record, self.config.objective))
            self.trial.set_user_attr(VALUES_BY_EPOCH, self.values_by_epoch)
        if self.prunable:
            self.pruned_because = self._collapse(record.step) or self._hopeless(epoch)
        if self.prunable and self.pruned_because is None:
            self.pruned_because = self._pause(epoch)
        return self.pruned_because is not None

    def _pause(self, epoch: int) -> str | None:
        rung = self.rungs.ending_at(epoch) if self.rungs else None
        if self.rungs is None or rung is None or rung <= self.went_on:
            return None
        self.paused = rung
        return f"waits on rung {rung} of {len(self.rungs.epochs)}, at epoch {epoch}"

    def _collapse(self, step: int) -> str | None:
        history = [item for item in read_history(self.folder.history) if item.step <= step]
        return collapse_reason(history, self.train_config, self.config.collapse)

    def _hopeless(self, epoch: int) -> str | None:
        """Why it is stopped for its score; an audited trial trains on, and the epoch is kept."""
        why = self._behind(epoch)
        if why and self.audited and epoch < self.train_config.train.epochs:
            if DOOMED not in self.trial.user_attrs:
                self.trial.set_user_attr(DOOMED, epoch)
            return None
        return why and f"{HOPELESS}: {why}"

    def _behind(self, epoch: int) -> str | None:
        study, own = self.trial.study, self.values_by_epoch.get(str(epoch), [])
        if not self.ranked:
            return why_dominated(study, epoch, own, self.config)
        if not self.trial.should_prune():
            return None
        behind = None
        if isinstance(study.pruner, Fair):
            behind = study.pruner.behind(study, stored_trial(study, self.trial))
        score = in_digits(self.score or 0.0)
        return behind.describe() if behind else f"score {score} at epoch {epoch} is no better"


def continue_from(folder: Path, reporter: Reporter, epochs: int) -> bool:
    """Report what an interrupted attempt scored up to its checkpoint.

    Returns whether the trial was about to be pruned. One that has its last score never is.
    """
    checkpoint = RunFolder(folder).checkpoint
    if not checkpoint.exists():
        return False
    step = load_checkpoint(checkpoint).step
    scored = [item for item in read_evals(RunFolder(folder).history) if item.step <= step]
    prune = [reporter.report(record) for record in scored]
    return bool(scored) and prune[-1] and scored[-1].epoch < epochs
