"""What ends a launch before the study's total: compute that is used up, or nothing left to gain."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from optuna.study import Study

from dcgan.config.settings import override
from study.config.study_config import StudyConfig
from study.running.context import StudyContext
from study.running.estimate import compute_hours, hours_left, what_is_left
from study.search.stopping import why_to_end
from study.storage.attributes import (
    CONFIG_ATTRIBUTE,
    ENDED_ATTRIBUTE,
    Ended,
    ended_early,
    study_config,
)
from study.storage.trial_result import TrialResult
from study.storage.trial_summaries import summaries_of

LOOK_SECONDS = 10
"""Time between two looks at the minutes that the trials have taken."""


@dataclass
class ComputeMeter:
    """The hours of all trials of a study: of all workers, launches and machines.

    Running trials write down their minutes now and then (`study.running.trial.NOTE_SECONDS`).
    """

    study: Study
    clock: Callable[[], float] = time.monotonic
    """Seconds from any origin."""
    _hours: float = 0.0
    _looked: float = float("-inf")
    _used: bool = False

    def has_used(self, hours: float | None) -> bool:
        """Whether so many hours are used; true from then on."""
        self._used = self._used or (hours is not None and self.hours() >= hours)
        return self._used

    def hours(self) -> float:
        """What all trials have taken so far, by the last look."""
        now = self.clock()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._hours = hours_of(self.study)
        return self._hours


def hours_of(study: Study) -> float:
    """What all trials of a study have taken so far."""
    return sum(trial.minutes or 0.0 for trial in summaries_of(study)) / 60


def compute_in_words(config: StudyConfig, workers: int, trials: Sequence[TrialResult]) -> str:
    """How many of `study.max_hours` are used, and for what share of what is left they are enough.

    By the trials so far, on so many workers; the share only if they are not enough, and if the
    trials tell how long others take.
    """
    used = sum(trial.minutes or 0.0 for trial in trials) / 60
    told = f"{used:.1f} of {config.study.max_hours:g} hours"
    _, minutes = what_is_left(config, workers, trials)
    needed = compute_hours(config, trials, workers, minutes)
    left = hours_left(config, trials, needed)
    return (
        told
        if left is None or not needed
        else f"{told}, enough for {left / needed:.0%} of the rest"
    )


def end_if_no_gain(context: StudyContext) -> str | None:
    """End the study at the trials it has begun, if `study.stop` says so; returns why, in words.

    Its total, as stored, becomes what it has. A launch with a higher one looks again.
    """
    config, study = context.config, context.study
    if config.study.stop is None:
        return None
    if ended := ended_early(study):
        return ended.why
    with context.claims.alone():  # no trial begins meanwhile
        why = why_to_end(study, config)
        if why is None:
            return None
        begun = len(study.get_trials(deepcopy=False))
        why = f"the study ends with {begun} trials (study.stop: when_no_gain): {why}"
        ended = Ended(begun, config.study.trials, why)
        study.set_user_attr(ENDED_ATTRIBUTE, json.dumps(asdict(ended)))
        # The stored one is the launcher's: paths and workers of this machine may be others.
        shown = override(study_config(study), {"study.trials": begun}, "study.stop")
        study.set_user_attr(CONFIG_ATTRIBUTE, shown.model_dump_json())
    return why
