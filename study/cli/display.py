"""What a running study shows: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dcgan.cli.display import TrainingDisplay, describe_scores
from dcgan.training.run.history import EvalRecord, LogRecord
from study.config.study_config import StudyConfig
from study.results.wording import describe_trial
from study.running.observer import Event
from study.storage.store import trial_name

if TYPE_CHECKING:
    from optuna.trial import Trial

    from dcgan.config.train_config import TrainConfig


class StudyDisplay(TrainingDisplay):
    """Adds a bar over the study's trials to the bar of the running one."""

    def __init__(self, config: StudyConfig) -> None:
        super().__init__()
        self.config = config
        self.trials = self.progress.add_task("trials", total=config.study.trials, status="")
        self.workers: dict[int, WorkerLine] = {}

    def on_progress(self, finished: int, total: int) -> None:
        """Move the study's bar."""
        self.progress.update(self.trials, completed=finished, total=total)

    def on_standing(self, text: str) -> None:
        """Show the best so far beside the study's bar."""
        self.progress.update(self.trials, status=text)

    def on_begin(self, trial: Trial, config: TrainConfig) -> None:
        """Say which trial starts and with what."""
        self.label = trial_name(trial.number)
        self.line(describe_trial(self.config, trial, config))

    def on_worker(self, worker: int, event: Event) -> None:
        """Show what a worker process tells, on a line of the worker's own."""
        line = self.workers.setdefault(worker, WorkerLine(worker))
        kind = event["kind"]
        if kind == "begin":
            line.label = trial_name(event["trial"])
            self.line(f"worker {worker}: {event['text']}")
        elif kind == "start":
            line.start(self, event)
        elif kind == "log":
            line.log(self, LogRecord.from_dict(event["record"]))
        elif kind == "eval":
            record = EvalRecord.from_dict(event["record"])
            line.score = record.frechet
            self.line(f"{line.label}: {describe_scores(record)}")
        elif kind == "warning":
            self.on_warning(f"worker {worker}: {event['text']}")
        elif kind == "outcome" and event["reason"]:
            self.line(f"{line.label}: {event['state'].lower()}, {event['reason']}")

    def on_warning(self, text: str) -> None:
        """Show a warning on a line of its own."""
        self.line(f"note: {text}")

    def __enter__(self) -> StudyDisplay:
        super().__enter__()
        return self


class WorkerLine:
    """A worker's bar over the steps of its trial."""

    def __init__(self, worker: int) -> None:
        self.worker = worker
        self.label = ""
        self.score: float | None = None
        """The last distance of its trial."""
        self.task: Any = None
        self.plan: Event = {}

    def start(self, display: StudyDisplay, event: Event) -> None:
        """Begin a bar anew for the next trial."""
        self.plan, self.score = event, None
        if self.task is not None:
            display.progress.remove_task(self.task)
        self.task = display.progress.add_task(
            f"{self.worker} {self.label}",
            total=event["total_steps"],
            completed=event["done"],
            status="",
        )

    def log(self, display: StudyDisplay, record: LogRecord) -> None:
        """Move the bar; a line an epoch where there is no terminal."""
        status = (
            f"epoch {record.epoch}/{self.plan['epochs']}  {record.images_per_second:.0f} images/s"
        )
        if self.score is not None:
            status += f"  last {self.score:.2f}"
        if display.console.is_terminal:
            display.progress.update(self.task, completed=record.step, status=status)
        elif record.step % self.plan["steps_per_epoch"] == 0:
            display.line(f"{self.label}: {status}")
