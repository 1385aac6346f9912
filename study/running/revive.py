"""Lets a trial that was stopped early go on to its end."""

from __future__ import annotations

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from dcgan.errors import UsageError
from study.errors import StudyError
from study.running.claims import Claims
from study.search.noise import scores_of
from study.storage.optuna_db import finished_count, read_again, reopen
from study.storage.trial_result import PAUSED, REASON

STATES = {
    TrialState.COMPLETE: "trained to its end",
    TrialState.RUNNING: "is running",
    TrialState.WAITING: "waits to go on already",
    TrialState.FAIL: "failed, and has nothing to go on from",
}
NO_USE = ("diverged", "out of memory", "not enough memory")
"""How the reasons begin, or what they hold, of trials that would end in the same way again."""


def revive(claims: Claims, number: int, total: int) -> None:
    """Let a pruned or paused trial go on to its full length, whatever it scores.

    It waits until a launch with this `total` runs it, from its checkpoint. Raises `UsageError` for
    a trial that is not there or has not been stopped, and if more trials are finished than the
    total, and `StudyError` for one that would only diverge again or still writes its outcome.
    """
    study = claims.study
    with claims.alone():
        read_again(study)
        trial = _trial(study, number)
        reason = str(trial.user_attrs.get(REASON) or "")
        if trial.state in STATES:
            raise UsageError(
                f"trial {number} of '{study.study_name}' {STATES[trial.state]}; only one can be "
                "revived that was stopped early"
            )
        if any(word in reason for word in NO_USE):
            raise StudyError(
                f"trial {number} of '{study.study_name}' would end in the same way again: {reason}"
            )
        if claims.is_held(number):
            raise StudyError(
                f"trial {number} of '{study.study_name}' still writes its outcome; try again"
            )
        if (finished := finished_count(study)) > claims.within(total):
            raise UsageError(
                f"'{study.study_name}' has {finished} finished trials and a total of {total}, so "
                "no launch would run this one; raise the total with 'study run --trials' first"
            )
        reopen(study, trial, revived=True)


def revivable(study: Study) -> list[int]:
    """Numbers of the trials that were stopped early, by their last score; paused ones first."""
    stopped = study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
    last = {trial.number: scores[max(scores)] for trial in stopped if (scores := scores_of(trial))}
    paused = {trial.number for trial in stopped if trial.user_attrs.get(PAUSED) is not None}
    return sorted(last, key=lambda number: (number not in paused, last[number], number))


def _trial(study: Study, number: int) -> FrozenTrial:
    for trial in study.get_trials(deepcopy=False):
        if trial.number == number:
            return trial
    found = revivable(study)[:5]
    early = ", ".join(map(str, found))
    there = f"stopped early were: {early}" if found else "none was stopped early"
    raise UsageError(f"'{study.study_name}' has no trial {number}; {there}")
