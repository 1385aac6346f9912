"""Keep each step's losses on the device; read them back once per log interval."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from dcgan.errors import TrainingDivergedError
from dcgan.evaluation.metrics.balance import log_loss_ratio
from dcgan.runtime.usage import Usage, UsageMeter
from dcgan.training.run.history import STEP_FIELDS, LogRecord, append_record
from dcgan.training.schedule import Schedule


@dataclass
class Recorder:
    """The losses of a run: all in `losses`, and a log record for each interval in the history."""

    history: Path
    schedule: Schedule
    losses: Tensor
    """float32 `(steps read back, 5)` on the CPU."""
    seconds: float = 0.0
    """Time in training steps, including the time before a resume, without scoring and pictures."""
    _pending: list[Tensor] = field(default_factory=list, init=False)
    _started: float = field(default_factory=time.monotonic, init=False)
    _meter: UsageMeter = field(default_factory=UsageMeter, init=False)

    def restart_clock(self) -> None:
        """Call this after anything that is not a training step."""
        self._started = time.monotonic()

    def add(self, step_losses: Tensor) -> None:
        """Add one step's losses, `(5,)` on the device."""
        self._pending.append(step_losses)

    def read_back(self) -> LogRecord:
        """Move the pending losses to the CPU and write the interval's record.

        After a non-finite loss, keep the steps before it and raise `TrainingDivergedError`.
        """
        device = self._pending[0].device
        rows = torch.stack(self._pending).cpu()
        self._pending.clear()
        elapsed = time.monotonic() - self._started
        first = len(self.losses)
        finite = rows[:, :2].isfinite().all(dim=1)
        good = rows[: int(finite.int().cumprod(dim=0).sum())]
        self.losses = torch.cat([self.losses, good])
        self.seconds += elapsed
        if len(good) < len(rows):
            bad = first + len(good) + 1
            raise TrainingDivergedError(step=bad, epoch=self.schedule.epoch_of(bad))
        record = self._record(rows, first, elapsed, self._meter.look(device))
        append_record(self.history, record)
        self.restart_clock()
        return record

    def _record(self, rows: Tensor, first: int, elapsed: float, usage: Usage) -> LogRecord:
        done = first + len(rows)
        photos = sum(len(self.schedule.batch(step)) for step in range(first, done))
        means = rows.double().mean(dim=0).tolist()
        return LogRecord(
            step=done,
            epoch=self.schedule.epoch_of(done),
            timestamp=time.time(),
            **dict(zip(STEP_FIELDS, means, strict=True)),
            images_per_second=photos / max(elapsed, 1e-9),
            **usage._asdict(),
            every_step=dict(zip(STEP_FIELDS, rows.T.tolist(), strict=True)),
        )


def balance_of(losses: Tensor) -> float | None:
    """`log_loss_ratio` of step losses `(steps, 5)`, with D's loss as the mean of its two parts."""
    if len(losses) == 0:
        return None
    loss_d, loss_g = (losses[:, column].double().numpy() for column in (0, 1))
    return log_loss_ratio(loss_g, loss_d / 2)
