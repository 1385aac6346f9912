"""Which process runs which trial: claimed one at a time, owned until let go or dead.

A claim is a file lock on the trial, which the system releases when its owner ends in any way, so a
trial that is RUNNING in the database and not locked has lost its process. Claims are made under a
lock of the study: however many processes ask, no trial is given out twice, and those finished and
running together never exceed the total.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from optuna.trial import Trial, TrialState

from study.errors import StudyError
from study.storage import FINISHED, put_back
from study.store import StudyFolder, trial_name

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

PATIENCE_SECONDS = 120
"""For another process that makes a claim: a proposal takes it well under a second."""


class Claims:
    """The claims on one study's trials, as one process makes them."""

    def __init__(self, study: Study, folder: StudyFolder) -> None:
        self.study, self.folder = study, folder

    @contextmanager
    def next(self, total: int) -> Iterator[Trial | None]:
        """Claim the next trial, waiting or new, and let go of it afterwards.

        Yields:
            The trial; none while as many as `total` are finished or running.

        Raises:
            StudyError: another process holds the study's lock for minutes.
        """
        with self._alone():
            self.put_back_orphans()
            states = [trial.state for trial in self.study.get_trials(deepcopy=False)]
            taken = sum(state in (*FINISHED, TrialState.RUNNING) for state in states)
            trial = self.study.ask() if taken < total else None
            lock = None if trial is None else self._lock(trial.number)
            if lock is not None:
                lock.acquire(timeout=0)
        try:
            yield trial
        finally:
            if lock is not None:
                lock.release()

    @contextmanager
    def take(self, number: int) -> Iterator[Trial | None]:
        """Claim one trial whose process is gone, and let go of it afterwards.

        Yields:
            The trial, RUNNING; none if another process has it by now or it has ended.
        """
        lock = self._lock(number)
        with self._alone():
            orphans = {trial.number: trial._trial_id for trial in self.orphans()}
            if number in orphans:
                lock.acquire(timeout=0)
        try:
            yield Trial(self.study, orphans[number]) if number in orphans else None
        finally:
            lock.release()

    def orphans(self) -> list[FrozenTrial]:
        """Running trials whose process is gone."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [trial for trial in running if self._is_free(trial.number)]

    def put_back_orphans(self) -> list[int]:
        """Return orphans to WAITING under their numbers, to be continued by whoever claims next.

        Returns:
            Their numbers.
        """
        orphans = self.orphans()
        for trial in orphans:
            put_back(self.study, trial._trial_id)
        return [trial.number for trial in orphans]

    def pause(self) -> AbstractContextManager[None]:
        """No trial is claimed meanwhile."""
        return self._alone()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock = self._lock_file("claims")
        try:
            lock.acquire(timeout=PATIENCE_SECONDS)
        except Timeout:
            raise StudyError(
                f"another process has held {lock.lock_file} for {PATIENCE_SECONDS} s, so no trial "
                "can be claimed; stop that process, and the same command continues"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _is_free(self, number: int) -> bool:
        lock = self._lock(number)
        with suppress(Timeout):
            lock.acquire(timeout=0)
            lock.release()
            return True
        return False

    def _lock(self, number: int) -> FileLock:
        return self._lock_file(trial_name(number))

    def _lock_file(self, name: str) -> FileLock:
        # Not in the trial's folder, which is removed where a trial starts again.
        self.folder.locks.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder.locks / f"{name}.lock")
