"""Which process runs which trial: claimed one at a time, owned until let go or dead.

A claim is a file lock on the trial, which the system releases when its owner ends in any way, so a
trial that is RUNNING in the database and not locked has lost its process. Where the database is
shared by machines, a claim is also a lease on the trial (see `storage.leases`), and the lease tells
of processes elsewhere. Claims are made under a lock of the study: however many processes ask, no
trial is given out twice, and those finished and running together never exceed the total.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from filelock import FileLock, Timeout
from optuna.trial import Trial, TrialState

from dcgan.runtime.files import write_text_atomic
from study.errors import StudyError
from study.storage.leases import Lease, Leases
from study.storage.optuna_db import FINISHED, backend_of, put_back
from study.storage.store import StudyFolder, trial_name

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

PATIENCE_SECONDS = 120
"""For another process that makes a claim: a proposal takes it well under a second."""
SHARED_PATIENCE_SECONDS = 1000
"""For many that start at once, or one that waits for the database (see `study.storage.retries`)."""


@dataclass(frozen=True)
class Claim:
    """A trial that is this process's to run."""

    trial: Trial
    check: Callable[[], None] = lambda: None
    """Raises `LeaseLostError` once it is not; cheap enough for every step."""


class Claims:
    """The claims on one study's trials, as one process makes them."""

    def __init__(self, study: Study, folder: StudyFolder) -> None:
        self.study, self.folder = study, folder
        storage = backend_of(study)
        self.leases: Leases | None = None
        self.locks = folder.locks
        if storage is not None and storage.engine.dialect.name == "postgresql":
            name = study.study_name
            self.locks = folder.locks / socket.gethostname()  # locks reach no other machine
            place = _place(self.locks)
            self.leases = Leases(storage.engine, name, place, lambda text: storage.say(text))

    @contextmanager
    def next(self, total: int) -> Iterator[Claim | None]:
        """Claim the next trial, waiting or new, and let go of it afterwards.

        Yields:
            The claim; none while as many as `total` are finished or running.

        Raises:
            StudyError: another process holds the study's lock for minutes.
        """
        with ExitStack() as held:
            with self.alone():
                self.put_back_orphans()
                states = [trial.state for trial in self.study.get_trials(deepcopy=False)]
                taken = sum(state in (*FINISHED, TrialState.RUNNING) for state in states)
                trial = self.study.ask() if taken < total else None
                if trial is not None:
                    self._own(trial.number, held)
            yield None if trial is None else self._claim(trial, held)

    @contextmanager
    def take(self, number: int) -> Iterator[Trial | None]:
        """Claim one trial whose process is gone, and let go of it afterwards.

        Yields:
            The trial, RUNNING; none if another process has it by now or it has ended.
        """
        with ExitStack() as held:
            with self.alone():
                orphans = {trial.number: trial._trial_id for trial in self.orphans()}
                if number in orphans:
                    self._own(number, held)
            yield Trial(self.study, orphans[number]) if number in orphans else None

    def orphans(self) -> list[FrozenTrial]:
        """Running trials whose process is gone."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        leases = self.leases.all() if self.leases and running else {}
        free = [trial for trial in running if self._is_free(trial.number, leases)]
        # One that ended between the two looks is free for another reason.
        now = [self.study._storage.get_trial(trial._trial_id) for trial in free]
        return [trial for trial in now if trial.state == TrialState.RUNNING]

    def put_back_orphans(self) -> list[int]:
        """Return orphans to WAITING under their numbers, to be continued by whoever claims next.

        Called while holding `alone`.

        Returns:
            Their numbers.
        """
        orphans = self.orphans()
        numbers = [trial.number for trial in orphans]
        if self.leases:  # first, so that a frozen owner cannot go on
            self.leases.forget(numbers)
        for trial in orphans:
            put_back(self.study, trial._trial_id)
        return numbers

    def running_elsewhere(self) -> list[int]:
        """Trials that processes of other machines or results folders run."""
        if self.leases is None:
            return []
        leases = self.leases.all().items()
        return [n for n, lease in leases if lease.place != self.leases.place and not lease.lapsed]

    def is_held(self, number: int) -> bool:
        """Whether a process has a trial, be it that it only writes what has ended."""
        return not self._is_free(number, self.leases.all() if self.leases else {})

    @contextmanager
    def alone(self, name: str = "claims") -> Iterator[None]:
        """Hold a lock of the study, on all machines that share it.

        Raises:
            StudyError: another process holds it for minutes.
        """
        lock = self._lock(name)
        long = self.leases or name == "opening"
        patience = SHARED_PATIENCE_SECONDS if long else PATIENCE_SECONDS
        try:
            lock.acquire(timeout=patience)
        except Timeout:
            raise StudyError(
                f"another process has held {lock.lock_file} for {patience} s, so no trial "
                "can be claimed; stop that process, and the same command continues"
            ) from None
        try:
            with ExitStack() as stack:
                if self.leases:
                    stack.enter_context(self.leases.alone(name, patience))
                yield
        finally:
            lock.release()

    def _own(self, number: int, held: ExitStack) -> None:
        lock = self._lock(trial_name(number))
        lock.acquire(timeout=0)
        held.callback(lock.release)
        if self.leases:
            self.leases.write(number)
            held.callback(self.leases.end, number)

    def _claim(self, trial: Trial, held: ExitStack) -> Claim:
        if self.leases is None:
            return Claim(trial)
        return Claim(trial, held.enter_context(self.leases.kept(trial.number)))

    def _is_free(self, number: int, leases: dict[int, Lease]) -> bool:
        lease = leases.get(number)
        if self.leases and lease and lease.place != self.leases.place:
            return lease.lapsed
        lock = self._lock(trial_name(number))
        with suppress(Timeout):
            lock.acquire(timeout=0)
            lock.release()
            return True
        return False

    def _lock(self, name: str) -> FileLock:
        # Not in the trial's folder, which is removed where a trial starts again.
        self.locks.mkdir(parents=True, exist_ok=True)
        return FileLock(self.locks / f"{name}.lock")


def _place(locks: Path) -> str:
    """A name for this disk: hosts and paths may have the same names, as in containers."""
    path = locks / ".place"
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / ".place.lock"):
        if not path.exists():
            write_text_atomic(path, uuid4().hex)
        return path.read_text(encoding="utf-8")
