"""The progress of one run in a notebook."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from dcgan.evaluation.record import EvalRecord
from dcgan.runtime.digits import in_digits
from dcgan.runtime.live import Bar, LiveBars
from dcgan.training.run.history import LogRecord
from dcgan.training.schedule import Schedule

OnStart: TypeAlias = Callable[[Schedule, int], object]
OnLog: TypeAlias = Callable[[LogRecord], object]
OnEval: TypeAlias = Callable[[EvalRecord], bool]


class NotebookBar:
    """A bar over the steps of a run, with its epoch, last score and speed."""

    def __init__(self) -> None:
        self.live = LiveBars()
        self.steps = RunSteps("training", 1, 0, 1)

    def beside(
        self, on_start: OnStart, on_log: OnLog, on_eval: OnEval
    ) -> tuple[OnStart, OnLog, OnEval]:
        """The callbacks of `train`, each after the bar has been moved."""

        def start(schedule: Schedule, done: int) -> object:
            epochs = schedule.config.train.epochs
            self.steps = RunSteps("training", schedule.total_steps, done, epochs)
            self._show(now=True)
            return on_start(schedule, done)

        def log(record: LogRecord) -> object:
            self.steps.log(record)
            self._show(now=record.step == self.steps.bar.total)
            return on_log(record)

        def score(record: EvalRecord) -> bool:
            self.steps.score(record)
            self._show(now=True)
            return on_eval(record)

        return start, log, score

    def _show(self, *, now: bool) -> None:
        self.live.bars["run"] = self.steps.bar
        self.live.show(now=now)


class RunSteps:
    """The bar of a run of `total` steps, of which `done` were trained earlier."""

    def __init__(self, label: str, total: int, done: int, epochs: int) -> None:
        self.bar = Bar(label, total, done)
        self.epochs = epochs
        self._epoch = self._speed = self._score = ""

    def log(self, record: LogRecord) -> None:
        """Move the bar to the step of a log record."""
        self.bar.done = record.step
        self._epoch = f"epoch {record.epoch}/{self.epochs}"
        self._speed = f"{record.images_per_second:.0f} images/s"
        self._write()

    def score(self, record: EvalRecord) -> None:
        """Show a score until the next one."""
        self._score = f"{record.frechet_metric} {in_digits(record.frechet)} at epoch {record.epoch}"
        self._write()

    def _write(self) -> None:
        self.bar.text = ", ".join(filter(None, (self._epoch, self._score, self._speed)))
