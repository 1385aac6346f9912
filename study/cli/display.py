"""The observer on a terminal: a live display there, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dcgan.cli.display import TrainingDisplay, describe_scores
from dcgan.training.run.history import LogRecord
from study.running.observer import (
    Event,
    LossesLogged,
    Progressed,
    Scored,
    TrainingStarted,
    TrialBegan,
    TrialEnded,
    Warned,
    WorkerPlaced,
)
from study.storage.store import trial_name


class StudyDisplay(TrainingDisplay):
    """Shows a bar over the study's trials, and one over the steps of each running trial.

    `should_stop` says whether the person at the terminal has asked to stop.
    """

    def __init__(self, should_stop: Callable[[], bool] = lambda: False) -> None:
        super().__init__()
        self.should_stop = should_stop
        self.trials = self.progress.add_task("trials", total=None, status="")
        self.workers: dict[int, WorkerLine] = {}

    def __enter__(self) -> StudyDisplay:
        super().__enter__()
        return self

    def tell(self, event: Event, worker: int | None = None) -> None:
        """Show an event."""
        match event:
            case Progressed(finished, total, text):
                self.progress.update(self.trials, completed=finished, total=total, status=text)
            case Warned(text):
                self.line(f"note: {'' if worker is None else f'worker {worker}: '}{text}")
            case _ if worker is not None:
                self.workers.setdefault(worker, WorkerLine(worker, self)).tell(event)
            case TrialBegan(trial, text):
                self.label = trial_name(trial)
                self.line(text)
            case TrainingStarted(_, total_steps, done, steps_per_epoch, epochs):
                self.start(total_steps, done, steps_per_epoch, epochs)
            case LossesLogged(_, record):
                self.on_log(record)
            case Scored(_, record):
                self.on_eval(record)


class WorkerLine:
    """The bar of a worker process over the steps of its trial."""

    def __init__(self, worker: int, display: StudyDisplay) -> None:
        self.worker, self.display = worker, display
        self.task: Any = None
        self.started = TrainingStarted(0, 1, 0, 1, 1)
        self.node = ""
        """The machine of a cluster that it is on."""
        self.score: float | None = None
        """The last distance of its trial."""

    def tell(self, event: Event) -> None:
        """Show what the worker tells."""
        match event:
            case TrialBegan(_, text):
                self.display.line(f"worker {self.worker}{self.node}: {text}")
            case WorkerPlaced(node):
                self.node = f" on {node}"
            case TrainingStarted():
                self._start(event)
            case LossesLogged(trial, record):
                self._log(trial_name(trial), record)
            case Scored(trial, record):
                self.score = record.frechet
                self.display.line(f"{trial_name(trial)}: {describe_scores(record)}")
            case TrialEnded(trial, state, reason) if reason:
                self.display.line(f"{trial_name(trial)}: {state.lower()}, {reason}")

    def _start(self, event: TrainingStarted) -> None:
        """Begin the bar anew for the next trial."""
        self.started, self.score = event, None
        progress = self.display.progress
        if self.task is not None:
            progress.remove_task(self.task)
        label, total = f"{self.worker}{self.node} {trial_name(event.trial)}", event.total_steps
        self.task = progress.add_task(label, total=total, completed=event.done, status="")

    def _log(self, label: str, record: LogRecord) -> None:
        """Move the bar; print a line an epoch if there is no terminal."""
        epoch, speed = f"{record.epoch}/{self.started.epochs}", record.images_per_second
        status = f"epoch {epoch}  {speed:.0f} images/s"
        if self.score is not None:
            status += f"  last {self.score:.2f}"
        if self.display.console.is_terminal:
            self.display.progress.update(self.task, completed=record.step, status=status)
        elif record.step % self.started.steps_per_epoch == 0:
            self.display.line(f"{label}: {status}")
