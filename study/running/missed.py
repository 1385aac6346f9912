"""What MLflow and the shared place missed of this disk's trials is delivered from their folders."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from filelock import FileLock, Timeout

from study.errors import StudyError
from study.running.context import StudyContext
from study.storage.shared_trials import Attempt, Known, changed
from study.storage.store import trial_name
from study.storage.trial_result import ATTEMPT
from study.tracking.catch_up import catch_up

PATIENCE_SECONDS = 60.0
"""Timeout for another process of this disk that delivers."""


def deliver_missed(context: StudyContext, most_seconds: float = math.inf) -> bool:
    """Deliver what could not be delivered when it was made; return whether MLflow missed any.

    One process of a disk does this at a time, so that nothing is delivered twice. What is not
    delivered after `most_seconds` is left for later.
    """
    deadline, locks = time.monotonic() + most_seconds, context.folder.locks
    locks.mkdir(parents=True, exist_ok=True)
    patience = min(PATIENCE_SECONDS, most_seconds)
    try:  # hosts may share this disk, so the lock is not that of one host
        with FileLock(locks / ".missed.lock", timeout=patience):
            shown = _show_missed(context)
            _put_missed(context, lambda: time.monotonic() >= deadline)
            return shown
    except Timeout:
        return False


def _put_missed(context: StudyContext, is_late: Callable[[], bool]) -> None:
    """Put the folders into the shared place."""
    if context.shared is None:
        return
    attempts = {it.number: it.user_attrs.get(ATTEMPT) for it in context.study.get_trials(False)}
    for number, folder in context.folder.trials().items():
        known = Known.load(folder)
        mine = known is not None and known.attempt == attempts.get(number)
        if known is None or not mine or not changed(folder, known):
            continue
        if is_late() or context.claims.is_held(number):
            continue
        trial = context.shared.trial(number)
        try:
            newest = trial.newest()
            if newest is None or (newest.attempt, newest.count) <= (known.attempt, known.count):
                attempt = Attempt(trial, folder, known.attempt, lambda: None)
                attempt.count = known.count
                attempt.put(is_late)
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
