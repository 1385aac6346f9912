"""Collects every step's losses on the device and reads them back once per log interval."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from dcgan.errors import TrainingDivergedError
from dcgan.evaluation.metrics.balance import log_loss_ratio
from dcgan.training.run.history import STEP_FIELDS, History, LogRecord
from dcgan.training.schedule import Schedule


@dataclass
class Recorder:
    """The losses of a run: all of them in `losses`, a `log` record per interval in the history."""

    history: History
    schedule: Schedule
    losses: Tensor
    """float32 `(steps read back, 5)` on the CPU."""
    seconds: float = 0.0
    """Time spent in training steps so far, without scoring and pictures, over all sittings."""

    def __post_init__(self) -> None:
        self._pending: list[Tensor] = []
        self._started = time.monotonic()

    def restart_clock(self) -> None:
        """Begin timing training steps: call after anything that is not a training step."""
        self._started = time.monotonic()

    def add(self, step_losses: Tensor) -> None:
        """Keep one step's `(5,)` losses on the device."""
        self._pending.append(step_losses)

    def read_back(self) -> LogRecord:
        """Move the pending losses to the host and write the interval's record.

        Raises:
            TrainingDivergedError: a loss was not finite; the finite ones before it are kept.
        """
        rows = torch.stack(self._pending).cpu()
        self._pending.clear()
        elapsed = time.monotonic() - self._started
        first = len(self.losses)
        finite = rows[:, :2].isfinite().all(dim=1)
        good = rows if finite.all() else rows[: int(finite.logical_not().nonzero()[0])]
        self.losses = torch.cat([self.losses, good])
        self.seconds += elapsed
        if len(good) < len(rows):
            bad = first + len(good) + 1
            raise TrainingDivergedError(step=bad, epoch=self.schedule.epoch_of(bad))
        record = self._record(rows, first, elapsed)
        self.history.append(record)
        self.restart_clock()
        return record

    def _record(self, rows: Tensor, first: int, elapsed: float) -> LogRecord:
        done = first + len(rows)
        photos = sum(len(self.schedule.batch(step)) for step in range(first, done))
        means = rows.double().mean(dim=0).tolist()
        return LogRecord(
            step=done,
            epoch=self.schedule.epoch_of(done),
            timestamp=time.time(),
            **dict(zip(STEP_FIELDS, means, strict=True)),
            images_per_second=photos / max(elapsed, 1e-9),
            every_step=dict(zip(STEP_FIELDS, rows.T.tolist(), strict=True)),
        )


def balance_of(losses: Tensor) -> float | None:
    """`log_loss_ratio` of a run's step losses `(steps, 5)`, D's being the mean of its two parts."""
    if len(losses) == 0:
        return None
    loss_d = losses[:, STEP_FIELDS.index("loss_d")].double().numpy() / 2  # published sum → mean
    loss_g = losses[:, STEP_FIELDS.index("loss_g")].double().numpy()
    return log_loss_ratio(loss_g, loss_d)
