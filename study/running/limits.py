"""What ends a launch before the study's total: compute that is used up, or nothing left to gain."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from optuna.study import Study

from dcgan.config.settings import override
from study.running.context import StudyContext
from study.running.observer import Event, Observer, TrialBegan, TrialEnded
from study.search.stopping import why_to_end
from study.storage.attributes import CONFIG_ATTRIBUTE, ENDED_ATTRIBUTE
from study.storage.trial_summaries import summaries_of

LOOK_SECONDS = 10
"""Time between two looks at the minutes that ended trials took."""


@dataclass
class ComputeMeter(Observer):
    """Counts the hours of all trials, and tells another observer what it is told.

    Trials that other launches run at the moment count once they stop.
    """

    study: Study
    observer: Observer
    clock: Callable[[], float] = time.monotonic
    """Seconds from any origin."""
    _began: dict[int, float] = field(default_factory=dict)
    _recorded: dict[int, float] = field(default_factory=dict)
    """Trial → minutes, by the last look."""
    _looked: float = float("-inf")
    _used: bool = False

    def tell(self, event: Event, worker: int | None = None) -> None:
        """Note when trials begin and end."""
        if isinstance(event, TrialBegan):
            self._began[event.trial] = self.clock()
        if isinstance(event, TrialEnded):
            self._began.pop(event.trial, None)
            self._looked = float("-inf")
        self.observer.tell(event, worker)

    def should_stop(self) -> bool:
        """As the other observer asks."""
        return self.observer.should_stop()

    def has_used(self, hours: float | None) -> bool:
        """Whether so many hours are used; true from then on.

        The minutes of a trial that has paused for that may be a second fewer than were counted.
        """
        self._used = self._used or (hours is not None and self.hours() >= hours)
        return self._used

    def hours(self) -> float:
        """What all trials of the study have taken so far, on all workers."""
        now = self.clock()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._recorded = {it.number: it.minutes or 0.0 for it in summaries_of(self.study)}
        running = sum(now - began for began in self._began.values())
        return sum(self._recorded.values()) / 60 + running / 3600


def end_if_no_gain(context: StudyContext) -> str | None:
    """End the study at the trials it has begun, if `study.stop` says so; returns why, in words.

    Its total, as stored, becomes what it has. A launch with a higher one looks again.
    """
    config, study = context.config, context.study
    if config.study.stop is None or context.total < config.study.trials:
        return None
    with context.claims.alone():  # no trial begins meanwhile
        why = why_to_end(study, config)
        if why is None:
            return None
        begun = len(study.get_trials(deepcopy=False))
        study.set_user_attr(ENDED_ATTRIBUTE, json.dumps(begun))
        ended = override(config, {"study.trials": begun}, "study.stop")
        study.set_user_attr(CONFIG_ATTRIBUTE, ended.model_dump_json())
    return f"the study ends with {begun} trials (study.stop: when_no_gain): {why}"
