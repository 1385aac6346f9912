"""What a running study tells its observer: one small class per event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from dcgan.evaluation.record import EvalRecord
from dcgan.training.run.history import LogRecord


@dataclass(frozen=True)
class TrialBegan:
    """A trial starts or continues."""

    trial: int
    text: str
    """Its number and searched values in words."""


@dataclass(frozen=True)
class WorkerPlaced:
    """A worker process has started on a machine of a cluster."""

    node: str
    """The address of the machine."""


@dataclass(frozen=True)
class TrainingStarted:
    """The training of a trial starts; `done` of its `total_steps` were trained earlier."""

    trial: int
    total_steps: int
    done: int
    steps_per_epoch: int
    epochs: int


@dataclass(frozen=True)
class LossesLogged:
    """Losses were read back. A worker process leaves the single steps out of the record."""

    trial: int
    record: LogRecord


@dataclass(frozen=True)
class Scored:
    """A trial was evaluated."""

    trial: int
    record: EvalRecord


@dataclass(frozen=True)
class TrialEnded:
    """A trial is COMPLETE, PRUNED or FAIL, or was put back to WAITING."""

    trial: int
    state: str
    reason: str | None


@dataclass(frozen=True)
class Warned:
    """A person should read this sentence."""

    text: str


@dataclass(frozen=True)
class Progressed:
    """So many of the study's trials are finished; told first and after each trial."""

    finished: int
    total: int
    standing: str = ""
    """The best score so far, in words."""


Event = (
    TrialBegan
    | WorkerPlaced
    | TrainingStarted
    | LossesLogged
    | Scored
    | TrialEnded
    | Warned
    | Progressed
)


class Observer(Protocol):
    """Watches a running study, and may ask it to stop. An exception in `tell` fails the trial."""

    def tell(self, event: Event, worker: int | None = None) -> None:
        """Called with each event; `worker` numbers the worker process it comes from, from 1."""

    def should_stop(self) -> bool:
        """Asked after every training step; true saves a checkpoint and ends the launch."""
        return False


class Silent(Observer):
    """An observer that shows nothing and never asks to stop."""

    def tell(self, event: Event, worker: int | None = None) -> None:
        """Ignore the event."""
