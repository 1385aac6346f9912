"""A trial's exported config trained in full, beside its study in MLflow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from optuna.study import Study

from dcgan.config.train_config import TrainConfig
from dcgan.data.bank import PhotoBank
from dcgan.errors import CheckpointError, TrainingInterrupted
from dcgan.evaluation.record import EvalRecord
from study.results.export import full_config
from study.results.selection import pick_trial
from study.search.objective import rank_of
from study.storage.attributes import study_config, with_addresses
from study.storage.locks import hold
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store
from study.storage.trial_result import TrialResult
from study.tracking.client import tolerate_mlflow_errors
from study.tracking.experiment import Tracker
from study.tracking.run_mirror import RunMirror


@dataclass(frozen=True)
class FullRun:
    """A trial that is to be trained in full."""

    store: Store
    study: Study
    trial: TrialResult
    config: TrainConfig

    @classmethod
    def of(cls, store: Store, name: str, number: int | None, rule: str | None = None) -> FullRun:
        """The full run of the trial that `pick_trial` chooses, which raises the same errors."""
        study = load_optuna_study(store, name)
        trial = pick_trial(study, number, rule)
        return cls(store, study, trial, full_config(study, trial, rule))

    @property
    def folder(self) -> Path:
        """Where its results go."""
        return self.store.study(self.study.study_name).full_run(self.trial.number)

    def rank(self, record: EvalRecord) -> float:
        """What is lowest for its best evaluation: what is lowest for the study's trials."""
        return rank_of(record, study_config(self.study).objective)

    @contextmanager
    def mirrored(
        self, bank: PhotoBank, warn: Callable[[str], None]
    ) -> Iterator[Callable[[], None]]:
        """Log to the study's experiment what is trained meanwhile in `folder`.

        The MLflow run is left complete, paused (`TrainingInterrupted`) or failed. `warn` is told
        when MLflow could not be updated. Yields what to call after each score.

        Raises:
            StudyBusyError: another process trains it.
            StudyError: MLflow's database cannot be used.
        """
        mirror, state = self._mirror(bank), "FAIL"

        def deliver() -> None:
            with tolerate_mlflow_errors(warn):
                mirror.deliver()

        with hold(self.folder, f"the full run in {self.folder}"):
            try:
                with tolerate_mlflow_errors(warn):
                    mirror.open()
                yield deliver
                state = "COMPLETE"
            except TrainingInterrupted:
                state = "WAITING"
                raise
            except CheckpointError:  # refused before training: what the run shows stays true
                state = ""
                raise
            finally:
                with tolerate_mlflow_errors(warn):
                    if state == "COMPLETE":
                        mirror.deliver()
                        mirror.deliver_files()
                    if state:
                        mirror.set_state(state)

    def _mirror(self, bank: PhotoBank) -> RunMirror:
        study, trial = self.study, self.trial
        store, config = with_addresses(self.store, study), study_config(study)
        tracker = Tracker(store, store.study(study.study_name), config, {})
        tags = {"data.fingerprint": bank.fingerprint, "origin": trial.origin}
        return tracker.mirror_of_full_run(trial.number, trial.params, tags)
