"""The most time and disk space that a study will take, told before it runs.

The disk space follows from the sizes of the networks. The time comes from the study's own complete
trials, else on a CPU from a few steps of what it may train, which take seconds.
"""

from __future__ import annotations

import math
import shutil
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from optuna.trial import TrialState

from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig
from dcgan.runtime.devices import resolve_device
from dcgan.training.run.size import checkpoint_bytes, checkpoints_kept, kept_bytes
from dcgan.training.schedule import Schedule
from study.config.study_config import StudyConfig, possible_values
from study.running.typical_speed import SIZES, Pace, seconds_per_image
from study.search.rungs import Rungs, epochs_in_all
from study.storage.optuna_db import FINISHED
from study.storage.store import Store
from study.storage.trial_result import TrialResult

KINDS = (
    "model.upsample",
    "model.discriminator",
    "projected.side",
    "projected.scales",
    "projected.pixels",
    "projected.mix",
)
"""Keys on which the size of the networks depends, not simply growing with them."""
WORTH_TELLING = 1.15
"""How much longer than the mean the slowest configs must take to be told."""


@dataclass(frozen=True)
class Estimate:
    """What the trials still to come take at most."""

    trials: int
    """Those that have not ended."""
    begun: bool
    """Whether trials of the study have finished before."""
    minutes: float | None
    slow_minutes: float | None
    """If configs as slow as the slowest that was measured prove best.

    Known if `minutes` come from a few steps, without the time of scoring; else None.
    """
    disk_bytes: float
    free_bytes: float
    rungs: int = 0
    """0 if the study has none. With rungs, trials that have ended may go on."""
    prunes: bool = True
    """Whether trials may be stopped for their scores."""
    hours_left: float | None = None
    """Hours of compute that `study.max_hours` leaves, if that is less than they need."""

    def describe(self) -> str:
        """One sentence."""
        more = " more" if self.begun else ""
        what = f"{self.trials}{more} trial{'s' * (self.trials != 1)}"
        if self.rungs:
            what = f"{what} on {self.rungs} rungs" if self.trials else "trials that go on"
        time = "" if self.minutes is None else f"about {_duration(self.minutes)}"
        if self.minutes and self.slow_minutes:
            time += " of training"
            if self.slow_minutes > max(WORTH_TELLING * self.minutes, 1.0):
                time += f", {_duration(self.slow_minutes)} if slow configs prove best"
        if time and self.prunes:
            time = f"{time} (pruning makes it less)"
        takes = ", ".join(filter(None, [time, f"at most about {_gigabytes(self.disk_bytes)}"]))
        told = f"{what}: {takes}; {_gigabytes(self.free_bytes)} are free"
        if self.hours_left is None:
            return told
        return f"{told}; the study ends before, after {self.hours_left:.1f} more hours of compute"

    @property
    def fits(self) -> bool:
        """Whether there is room for it."""
        return self.disk_bytes <= self.free_bytes


def estimate(
    config: StudyConfig,
    workers: int,
    trials: Sequence[TrialResult],
    store: Store,
    photos: int,
    measure: Callable[[StudyConfig, int], Pace | None] = seconds_per_image,
) -> Estimate | None:
    """What a launch takes with so many `workers` and `photos` to train on.

    `trials` are the study's trials so far; `measure` gives seconds per image, of so many workers
    on this machine, where they tell nothing. None if all trials have ended, which on rungs may
    still go on.
    """
    finished = [trial for trial in trials if trial.state in FINISHED]
    left = max(config.study.trials - len(finished), 0)
    rungs = Rungs.of(config)
    epochs, minutes = what_is_left(config, workers, trials)
    if not epochs:
        return None
    slow, on_cpu = None, resolve_device(config.base.train.device).type == "cpu"
    beside = 1 if config.study.launcher == "ray" else max(1, min(workers, left))
    # On a GPU a few steps tell too little.
    if minutes is None and on_cpu and (pace := measure(config, beside)):
        minutes, slow = (photos * epochs * seconds / 60 for seconds in pace)
    return Estimate(
        trials=left,
        begun=bool(finished),
        minutes=minutes,
        slow_minutes=slow,
        disk_bytes=disk_bytes(config, left, photos, workers),
        free_bytes=shutil.disk_usage(store.root).free,
        rungs=len(rungs.epochs) if rungs else 0,
        prunes=config.pruner.name != "none",
        hours_left=hours_left(config, trials, compute_hours(config, trials, workers, minutes)),
    )


def what_is_left(
    config: StudyConfig, workers: int, trials: Sequence[TrialResult]
) -> tuple[int, float | None]:
    """Epochs that each of so many workers trains at most, and their minutes by the trials so far.

    None for the minutes if no trial tells them.
    """
    finished = [trial for trial in trials if trial.state in FINISHED]
    rounds = -(-max(config.study.trials - len(finished), 0) // workers)
    before = min((it.continues.epochs if it.continues else 0 for it in config.baselines), default=0)
    epochs = rounds * (config.base.train.epochs - before)
    if rungs := Rungs.of(config):
        done = sum(epochs_of(trial, config) for trial in trials)
        whole = epochs_in_all(rungs, len(config.trained_baselines))
        epochs = math.ceil(max(whole - done, 0) / workers)
        return epochs, minutes_by_epochs(finished, epochs, config)
    if before:  # as `study extend` makes it
        return epochs, minutes_by_epochs(finished, epochs, config)
    return epochs, minutes_by_trials(finished, rounds)


def compute_hours(
    config: StudyConfig, trials: Sequence[TrialResult], workers: int, minutes: float | None
) -> float | None:
    """What `minutes` on so many workers are together; in the last round some have no trial."""
    if minutes is None:
        return None
    unfinished = config.study.trials - sum(trial.state in FINISHED for trial in trials)
    rounds = -(-unfinished // workers)
    busy = workers if Rungs.of(config) or not rounds else unfinished / rounds
    return minutes * busy / 60


def hours_left(
    config: StudyConfig, trials: Sequence[TrialResult], compute: float | None
) -> float | None:
    """What `study.max_hours` leaves; None if that is enough for so many hours of compute.

    None as well if nobody knows how long they take.
    """
    if config.study.max_hours is None or compute is None:
        return None
    left = config.study.max_hours - sum(trial.minutes or 0.0 for trial in trials) / 60
    return None if compute <= left else max(left, 0.0)


def minutes_by_trials(finished: Sequence[TrialResult], count: int) -> float | None:
    """What trials, one after the other, take if each is like a complete one; none without any."""
    minutes = [
        trial.minutes for trial in finished if trial.state == TrialState.COMPLETE and trial.minutes
    ]
    return statistics.median(minutes) * count if minutes else None


def epochs_of(trial: TrialResult, config: StudyConfig) -> int:
    """How many epochs a trial has trained; of a complete one `epoch` may be that of its best."""
    whole = trial.state == TrialState.COMPLETE
    return config.base.train.epochs if whole else trial.epoch or 0


def minutes_by_epochs(
    finished: Sequence[TrialResult], epochs: int, config: StudyConfig
) -> float | None:
    """What so many epochs take by those of trials that have stopped; none without any."""
    lengths = ((trial.minutes, epochs_of(trial, config)) for trial in finished)
    known = [(minutes, length) for minutes, length in lengths if minutes and length]
    spent, trained = (sum(values) for values in zip(*known, strict=True)) if known else (0, 0)
    return epochs * spent / trained if trained else None


def disk_bytes(config: StudyConfig, trials: int, photos: int, workers: int = 1) -> float:
    """Space that so many trials take at most: pictures of all, checkpoints of the best.

    While a checkpoint is written the old ones are still there, and a trial that has ended keeps its
    own until the launcher has heard of it. On each rung, trials that may go on keep theirs.
    """
    largest = largest_networks(config)
    schedule = Schedule(largest, photos, torch.device("cpu"))
    each = checkpoints_kept(schedule)
    rungs, kept = Rungs.of(config), config.checkpoints.keep
    if rungs or config.pruner.name != "none":
        kept += config.checkpoints.keep_pruned
    if rungs:
        kept += rungs.quota(rungs.total, more=False) * (len(rungs.epochs) - 1)
    checkpoints = each * min(kept, trials) + (each + 1) * workers
    size = checkpoint_bytes(largest, schedule.total_steps)
    return checkpoints * size + trials * trial_bytes(largest, photos)


def largest_networks(config: StudyConfig) -> TrainConfig:
    """The base recipe with the largest networks of the search space."""
    sizes = {key: max(possible_values(config, key)) for key in SIZES}
    kinds = product(*(possible_values(config, key) for key in KINDS))
    changes = [sizes | dict(zip(KINDS, kind, strict=True)) for kind in kinds]
    return max(
        (override(config.base, one, "space") for one in changes),
        key=lambda largest: checkpoint_bytes(largest, 0),
    )


def trial_bytes(config: TrainConfig, photos: int) -> int:
    """What a complete trial keeps apart from checkpoints: in its folder, and in MLflow."""
    schedule = Schedule(config, photos, torch.device("cpu"))
    places = (schedule.grid_due, schedule.eval_due)
    return round(sum(kept_bytes(config, schedule, due) for due in places))


def _gigabytes(size: float) -> str:
    return f"{size / 1e6:,.0f} MB" if size < 1e8 else f"{size / 1e9:,.1f} GB"


def _duration(minutes: float) -> str:
    if minutes < 1:
        return "1 min"
    return f"{minutes:,.0f} min" if minutes < 120 else f"{minutes / 60:,.1f} h"
