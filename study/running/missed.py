"""What MLflow and the shared place missed of this disk's trials is delivered from their folders."""

from __future__ import annotations

from filelock import FileLock, Timeout

from study.errors import StudyError
from study.running.context import StudyContext
from study.storage.shared_trials import Attempt, Known, changed
from study.storage.store import trial_name
from study.storage.trial_result import ATTEMPT
from study.tracking.catch_up import catch_up

PATIENCE_SECONDS = 60
"""Timeout for another process of this disk that delivers: it delivers the rest, too."""


def deliver_missed(context: StudyContext) -> bool:
    """Deliver what could not be delivered when it was made; return whether MLflow missed any.

    One process of a disk does this at a time, so that nothing is delivered twice.
    """
    context.claims.locks.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(context.claims.locks / ".missed.lock", timeout=PATIENCE_SECONDS):
            _put_missed(context)
            return _show_missed(context)
    except Timeout:
        return False


def _put_missed(context: StudyContext) -> None:
    """Put the folders into the shared place."""
    if context.shared is None:
        return
    attempts = {it.number: it.user_attrs.get(ATTEMPT) for it in context.study.get_trials(False)}
    for number, folder in context.folder.trials().items():
        known = Known.load(folder)
        mine = known is not None and known.attempt == attempts.get(number)
        if known is None or not mine or not changed(folder, known):
            continue
        if context.claims.is_held(number):
            continue
        trial = context.shared.trial(number)
        try:
            newest = trial.newest()
            if newest is None or (newest.attempt, newest.count) <= (known.attempt, known.count):
                attempt = Attempt(trial, folder, known.attempt, lambda: None)
                attempt.count = known.count
                attempt.put()
        except (StudyError, OSError) as error:
            context.warn(f"{trial_name(number)} is not in the shared place yet: {error}")
            return


def _show_missed(context: StudyContext) -> bool:
    """Show the trials in MLflow; return whether there were any."""
    states = {trial.number: trial.state.name for trial in context.study.get_trials(deepcopy=False)}
    delivered = 0
    with context.mirroring():
        delivered = catch_up(context.tracker, states, context.claims.is_held, unfinished=False)
    return delivered > 0
