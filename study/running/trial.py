"""One trial: suggest → train → report and prune → score."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import Trial, TrialState

from dcgan.config.train_config import TrainConfig
from dcgan.errors import (
    OutOfMemoryError,
    TrainingDivergedError,
    TrainingInterrupted,
)
from dcgan.evaluation.record import EvalRecord
from dcgan.evaluation.set_score import shown_in
from dcgan.training.loop import TrainResult, train
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import LogRecord, read_evals
from dcgan.training.schedule import Schedule
from study.config.space import suggest
from study.errors import LeaseLostError, StudyError
from study.results.wording import describe_trial
from study.running.claims import Claim
from study.running.context import StudyContext
from study.running.continuing import make_continuable
from study.running.observer import LossesLogged, Scored, TrainingStarted, TrialBegan
from study.running.reporter import Reporter, continue_from
from study.running.travel import Traveller
from study.search.objective import eval_attributes, rank_of, score_of, values_of
from study.storage.optuna_db import put_back
from study.storage.trial_record import TrialRecord
from study.storage.trial_result import ENDED_ON, PAUSED, WENT_ON

if TYPE_CHECKING:
    from study.tracking.run_mirror import RunMirror

MAX_TRIES = 3
NOTE_SECONDS = 30
"""Time between two notes of the minutes that a running trial has taken."""


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: COMPLETE, PRUNED, FAIL, or WAITING (to be continued)."""

    state: TrialState
    reason: str | None = None
    score: float | None = None
    values: tuple[float, ...] = ()
    """What Optuna is told of a complete trial."""
    scored: EvalRecord | None = None
    """The evaluation of a complete trial that counts."""
    best_epoch: int | None = None
    """The epoch of a complete trial's best evaluation."""
    paused: int | None = None
    """The rung, from 1, at whose end a pruned trial waits to go on."""


def run_trial(context: StudyContext, claim: Claim) -> Outcome:
    """Run (or continue) one trial to its end, in Optuna, in its folder and in MLflow.

    An exception in the trial becomes an outcome with a reason. Only what stops the whole program
    (a second Ctrl-C) passes through. A trial whose lease was lost is left to its new owner.
    """
    run = TrialRun(context, claim.trial, claim.check, claim.ending)
    try:
        return run.run()
    except LeaseLostError as error:
        context.warn(f"{error}; it goes on there")
    except UpdateFinishedTrialError:  # while this one waited for the database to say so
        context.warn(f"trial {claim.trial.number} was ended by another process")
    return Outcome(TrialState.WAITING)


def fail_trial(context: StudyContext, trial: Trial, reason: str) -> Outcome:
    """End a claimed trial that no worker can run to its end."""
    return TrialRun(context, trial).end_unopened(reason, try_again=False)


class TrialRun:
    """One attempt to run a trial in this process.

    `check` raises `LeaseLostError` once the trial is another process's; so does `ending`, in which
    nobody else can take it.
    """

    def __init__(
        self,
        context: StudyContext,
        trial: Trial,
        check: Callable[[], None] = lambda: None,
        ending: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.context, self.trial, self.check, self.ending = context, trial, check, ending
        self.folder = context.folder.trial(trial.number)
        self._begun = self._noted = time.time()
        self._minutes_before = 0.0
        self._mirror: RunMirror | None = None
        self._shown = False
        self.traveller = Traveller(context, trial, check)

    def run(self) -> Outcome:
        """Open, train and close; see `run_trial`."""
        try:
            config = suggest(self.trial, self.context.config)
        except Exception as error:  # this trial can never train: no use in trying again
            return self.fail_before_start(_in_words(error))
        try:
            self.traveller.bring()
        except StudyError:  # it may be continued where its folder can be had
            with self.ending():
                put_back(self.context.study, self.trial)
            raise
        try:
            make_continuable(self.context, self.trial, self.folder, config)
        except Exception as error:  # such as a GPU that is full: tried again, then failed
            return self.end_unopened(_in_words(error), try_again=True)
        record = self.open(config)
        self._begun, self._minutes_before = time.time(), record.minutes
        self._noted = self._begun
        try:
            with self.traveller.underway():
                outcome = self.train(config, record)
        except LeaseLostError:
            raise
        except Exception as error:  # a bug or the environment: tried again, then failed
            outcome = _after_error(record, _in_words(error))
        except BaseException:  # a second Ctrl-C
            self._save_minutes(record)
            raise
        self.check()
        self._save_minutes(record)
        self.show(record)
        self.close(record, outcome, put=True)
        return outcome

    def open(self, config: TrainConfig) -> TrialRecord:
        """Write the trial's record, and tell that it begins."""
        trial, context = self.trial, self.context
        record = TrialRecord.load(self.folder) or TrialRecord.begun(
            trial, config.train.seed, context.identity
        )
        record.state, record.reason, record.ended = "RUNNING", None, None
        record.save(self.folder)
        text = describe_trial(context.config, record, config)
        context.observer.tell(TrialBegan(trial.number, text))
        return record

    def mirror(self, record: TrialRecord) -> RunMirror:
        """The mirror of this trial's folder; call it inside `mirroring`, since it opens MLflow."""
        if self._mirror is None:
            self._mirror = self.context.tracker.mirror_of(record, self.check)
        return self._mirror

    def show(self, record: TrialRecord) -> None:
        """Show the trial in MLflow: when its first losses are there, so that no start waits."""
        if self._shown:
            return
        self._shown = True
        with self.context.mirroring():
            record.run_id = self.mirror(record).open()
            record.save(self.folder)
        try:
            self.check()
        except LeaseLostError:  # this process was frozen while it opened the run
            with self.context.mirroring():
                self.mirror(record).withdraw()
            raise

    def train(self, config: TrainConfig, record: TrialRecord) -> Outcome:
        """Train from the checkpoint or from step 0, until the last step or an early end."""
        reporter = Reporter(self.trial, self.context.config, config, RunFolder(self.folder))
        if continue_from(self.folder, reporter, config.train.epochs):
            return _stopped(reporter)
        try:
            result = self._train(config, reporter, record)
        except TrainingInterrupted as stop:
            return Outcome(TrialState.WAITING, f"interrupted after step {stop.step}")
        except TrainingDivergedError as error:
            reason = f"diverged at step {error.step} (epoch {error.epoch})"
            return Outcome(TrialState.PRUNED, reason)
        except OutOfMemoryError as error:
            # What does not fit says something in a search, and nothing of one that is repeated.
            name = self.trial.user_attrs.get("baseline")
            named = [it for it in self.context.config.baselines if it.name == name]
            repeated = any(it.repeats or it.continues for it in named)
            return Outcome(TrialState.FAIL if repeated else TrialState.PRUNED, str(error))
        for fault in result.picture_faults:
            self.context.warn(f"trial {self.trial.number}: {fault}; all else of it is there")
        if self.trial.number == 0:  # once for the study
            for note in result.photo_notes:
                self.context.warn(note)
        for note in result.notes:
            self.context.warn(f"trial {self.trial.number}: {note}")
        if result.stopped_early:
            return _stopped(reporter)
        scored, objective = result.selected, self.context.config.objective
        score, values = score_of(scored, objective), values_of(scored, objective)
        return Outcome(TrialState.COMPLETE, None, score, values, scored, result.best.epoch)

    def _train(self, config: TrainConfig, reporter: Reporter, record: TrialRecord) -> TrainResult:
        number, context, tell = self.trial.number, self.context, self.context.observer.tell

        def should_stop() -> bool:
            self.check()
            return context.should_stop()

        def on_start(schedule: Schedule, done: int) -> None:
            epochs, each = reporter.goal_epoch, schedule.steps_per_epoch
            tell(TrainingStarted(number, epochs * each, done, each, epochs))

        def on_log(log: LogRecord) -> None:
            self.check()
            self.show(record)
            self._note_minutes(record)
            tell(LossesLogged(number, log))

        def on_eval(scored: EvalRecord) -> bool:
            self.check()
            stop = reporter.report(scored)
            with context.mirroring():
                # The checkpoint holds all that is delivered: a continued trial repeats none of it.
                self.mirror(record).deliver()
            tell(Scored(number, scored))
            return stop

        return train(
            config,
            self.folder,
            bank=context.bank,
            extractor=context.extractor,
            resume=True,
            on_start=on_start,
            on_log=on_log,
            on_eval=on_eval,
            should_stop=should_stop,
            rank=partial(rank_of, objective=context.config.objective),
            progress=False,  # the observer shows it
        )

    def close(self, record: TrialRecord, outcome: Outcome, *, put: bool = False) -> None:
        """Write the outcome: the folder first, then Optuna, then MLflow.

        With `put`, the shared place has the folder before others hear of the end.
        """
        study, trial = self.context.study, self.trial
        if self._mirror:  # MLflow may have been away at the start
            record.run_id = record.run_id or self._mirror.run_id
        record.state, record.reason = outcome.state.name, outcome.reason
        record.score, record.values = outcome.score, list(outcome.values)
        record.best_epoch, record.rung = outcome.best_epoch, self._rung(outcome)
        record.ended = time.time()
        record.save(self.folder)
        if put:
            self.traveller.finish()
        attributes = self._attributes(record, outcome.scored)
        # A kill may have left the attribute at a trial that does not wait on a rung after all.
        if outcome.paused is not None or PAUSED in trial.user_attrs:
            attributes[PAUSED] = outcome.paused
        if record.rung and outcome.state == TrialState.COMPLETE:
            attributes[ENDED_ON] = record.rung
        waits = outcome.state == TrialState.WAITING
        if waits:  # first: another process may claim the trial at once
            with self.context.mirroring():
                self.mirror(record).set_state("WAITING")
        for key, value in attributes.items():
            trial.set_user_attr(key, value)
        with self.ending():  # only this: all other claims wait for it
            if waits:
                put_back(study, trial)
            else:
                values = outcome.values if outcome.state == TrialState.COMPLETE else None
                study.tell(trial, values, state=outcome.state)
        if not waits:
            with self.context.mirroring():
                self.mirror(record).finish(record)

    def _rung(self, outcome: Outcome) -> int | None:
        """The rung on which the trial waits or has ended."""
        rungs = self.context.rungs
        if rungs is None:
            return None
        if outcome.state == TrialState.COMPLETE:
            return len(rungs.epochs)
        went_on: int = self.trial.user_attrs.get(WENT_ON, 0)
        return outcome.paused or went_on + 1

    def end_unopened(self, reason: str, *, try_again: bool) -> Outcome:
        """End a trial that this process has not opened; it may have a record from earlier."""
        record = TrialRecord.load(self.folder)
        if record is None:
            return self.fail_before_start(reason)
        failed = Outcome(TrialState.FAIL, reason)
        outcome = _after_error(record, reason) if try_again else failed
        self.close(record, outcome)
        return outcome

    def fail_before_start(self, reason: str) -> Outcome:
        """End a trial that has no record yet."""
        self.trial.set_user_attr("reason", reason)
        self.context.study.tell(self.trial, state=TrialState.FAIL)
        return Outcome(TrialState.FAIL, reason)

    def _attributes(self, record: TrialRecord, scored: EvalRecord | None) -> dict[str, Any]:
        """The user attributes, with the evaluation that counts, else the last one."""
        attributes = record.attributes()
        evals = [scored] if scored else read_evals(RunFolder(self.folder).history)
        for last in evals[-1:]:
            attributes |= eval_attributes(last, self.context.config.objective)
            attributes["metrics"] = shown_in("leaderboard", last)
        return attributes

    def _save_minutes(self, record: TrialRecord) -> None:
        self._noted = time.time()
        record.minutes = self._minutes_before + (self._noted - self._begun) / 60
        record.save(self.folder)

    def _note_minutes(self, record: TrialRecord) -> None:
        """Tell now and then how long the trial has taken: it may be killed, or use up a limit."""
        if time.time() - self._noted >= NOTE_SECONDS:
            self._save_minutes(record)
            self.trial.set_user_attr("minutes", record.minutes)


def _stopped(reporter: Reporter) -> Outcome:
    reason, score = reporter.pruned_because, reporter.score
    return Outcome(TrialState.PRUNED, reason, score, paused=reporter.paused)


def _after_error(record: TrialRecord, reason: str) -> Outcome:
    if record.tries < MAX_TRIES:
        record.tries += 1
        return Outcome(TrialState.WAITING, reason)
    return Outcome(TrialState.FAIL, reason)


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".removesuffix(": ")
