"""Which process runs which trial: a process claims one at a time and owns it until it ends.

A claim is a file lock on the trial, which the system releases when its owner ends. A trial that is
RUNNING in the database but not locked has lost its process. If machines share the database, a claim
is also a lease (see `study.storage.leases`). A lock of the study protects the claiming itself, so
no trial is given out twice, and finished and running trials never exceed the total.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

from filelock import FileLock, Timeout
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from study.errors import StudyError
from study.search.rungs import Rungs, going_on, standings
from study.storage.attributes import ended_early
from study.storage.leases import Leases
from study.storage.locks import place_of, trial_is_held
from study.storage.optuna_db import (
    FINISHED,
    backend_of,
    begin_waiting,
    finished_count,
    put_back,
    read_again,
    reopen,
    running_again,
    stored_trial,
)
from study.storage.store import StudyFolder, trial_name
from study.storage.trial_result import ATTEMPT

DEATHS = "deaths"
"""User attribute: how many processes have died while they ran the trial."""
PATIENCE_SECONDS = 120
"""Timeout for another process that makes a claim: a proposal takes well under a second."""
SHARED_PATIENCE_SECONDS = 1000
"""Timeout for many processes that start at once, or one that waits for the database (see
`study.storage.retries`)."""
OTHERS_SECONDS = 60
"""Time in which a machine that is there claims a trial whose checkpoint it has."""
LOOK_SECONDS = 10
"""Time between two looks after which nobody knows what the other machines did meanwhile."""


@dataclass(frozen=True)
class Claim:
    """A trial that is this process's to run."""

    trial: Trial
    check: Callable[[], None] = lambda: None
    """Raises `LeaseLostError` when it is not any more; cheap enough for every step."""
    ending: Callable[[], AbstractContextManager[None]] = nullcontext
    """In this context the trial is certainly this process's, and nobody can take it: its state is
    changed there. Raises `LeaseLostError` if it is not."""


class Claims:
    """The claims on one study's trials, as one process makes them."""

    def __init__(self, study: Study, folder: StudyFolder) -> None:
        self.study, self.folder = study, folder
        self.everywhere = False
        """Whether this process reaches the checkpoints that other machines have put, and can go on
        from them."""
        self._quiet_since = 0.0
        """Since when no other machine runs a trial, as long as this process keeps looking."""
        self._looked = float("-inf")
        here = folder.locks / socket.gethostname()  # locks reach no other machine
        self.leases = Leases.of(backend_of(study), study.study_name, partial(place_of, here))
        self.locks = here if self.leases else folder.locks

    @contextmanager
    def next(self, total: int, rungs: Rungs | None = None) -> Iterator[Claim | None]:
        """Claim the next trial, waiting, paused or new, and let go of it afterwards.

        Yields None while `total` trials are finished or running, and none on the `rungs` may go on.
        A study that has ended early begins no more. Raises `StudyError` if another process holds
        the study's lock for minutes.
        """
        with ExitStack() as held:
            with self.alone():
                self.put_back_orphans()
                self._see_reopened()
                total = self.within(total)
                trial = self._let_one_go_on(rungs, total) if rungs else None
                if trial is None and self._taken() < total:
                    trial = self.study.ask()
                if trial is not None:
                    self._own(trial.number, held)
            if trial is None:
                yield None
            elif self.leases is None:
                yield Claim(trial)
            else:
                check = held.enter_context(self.leases.kept(trial.number))
                yield Claim(trial, check, partial(self._certainly, trial.number))

    def left(self, total: int, rungs: Rungs | None = None) -> int:
        """How many trials have not ended or may go on by now; 0 means that the study is over."""
        total = self.within(total)
        if rungs is None:
            return max(total - finished_count(self.study), 0)
        read_again(self.study)
        trials = self.study.get_trials(deepcopy=False)
        unfinished = max(total - sum(trial.state in FINISHED for trial in trials), 0)
        return unfinished + len(going_on(standings(trials, rungs), rungs, new=unfinished > 0))

    def _see_reopened(self) -> None:
        """Read again if a trial that has ended waits again: it was revived, or goes on."""
        ended = self.study.get_trials(deepcopy=False, states=FINISHED)
        if finished_count(self.study) < len(ended):
            read_again(self.study)

    def within(self, total: int) -> int:
        """The total, or fewer trials if the study has ended early."""
        ended = ended_early(self.study)
        return total if ended is None else min(total, ended.trials)

    def _taken(self) -> int:
        """How many trials are finished or running."""
        return len(self.study.get_trials(deepcopy=False, states=(*FINISHED, TrialState.RUNNING)))

    def _let_one_go_on(self, rungs: Rungs, total: int) -> Trial | None:
        """Start the paused trial that goes on next, unless an interrupted one comes first.

        A trial whose process still writes its outcome is left for later. Another machine that has
        a trial's checkpoint comes first. Without it, the trial starts again from step 0.
        """
        read_again(self.study)
        trials = {trial.number: trial for trial in self.study.get_trials(deepcopy=False)}
        waits = any(trial.state == TrialState.WAITING for trial in trials.values())
        if waits and self._taken() < total:
            return None
        chosen = going_on(standings(trials.values(), rungs), rungs, new=len(trials) < total)
        held = self.held(chosen)
        free = [number for number in chosen if number not in held]
        here = [number for number in free if self.folder.trial(number).exists()]
        if not here and self.everywhere:
            here = [number for number in free if ATTEMPT in trials[number].user_attrs]
        if not here and free and self._are_left_behind():
            here = free
        if not here:
            return None
        reopen(self.study, trials[here[0]])
        return begin_waiting(self.study, trials[here[0]])

    def _are_left_behind(self) -> bool:
        """Whether no other machine has run a trial for a while; true if none shares the study."""
        if self.leases is None:
            return True
        now = time.monotonic()
        if self.running_elsewhere() or now - self._looked > LOOK_SECONDS:
            self._quiet_since = now
        self._looked = now
        return now - self._quiet_since >= OTHERS_SECONDS

    @contextmanager
    def take(self, number: int) -> Iterator[Trial | None]:
        """Claim one trial whose process is gone, and let go of it afterwards.

        Yields the trial, RUNNING; None if another process has it by now or it has ended.
        """
        with ExitStack() as held:
            with self.alone():
                read_again(self.study)  # it may have gone on from a rung since
                orphans = {trial.number: trial for trial in self.orphans()}
                is_free = number in orphans and not (self.leases and self.leases.forget([number]))
                if is_free:
                    self._own(number, held)
            yield running_again(self.study, orphans[number]) if is_free else None

    def count_death(self, number: int) -> None:
        """Note that the process that ran a trial has died, whoever has the trial by now."""
        read_again(self.study)
        begun = (TrialState.RUNNING, TrialState.WAITING)
        for trial in self.study.get_trials(deepcopy=False, states=begun):
            if trial.number == number:
                running_again(self.study, trial).set_user_attr(DEATHS, deaths_of(trial) + 1)

    def orphans(self) -> list[FrozenTrial]:
        """Running trials whose process is gone."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        held = self.held(trial.number for trial in running)
        free = [trial for trial in running if trial.number not in held]
        # A trial that ended after the first query is free for another reason.
        now = [stored_trial(self.study, trial) for trial in free]
        return [trial for trial in now if trial.state == TrialState.RUNNING]

    def put_back_orphans(self) -> list[int]:
        """Return orphans to WAITING, and return their numbers; the caller holds `alone`."""
        orphans = {trial.number: trial for trial in self.orphans()}
        if self.leases:  # first, so that a frozen owner cannot go on
            for awake in self.leases.forget(list(orphans)):
                del orphans[awake]
        for trial in orphans.values():
            put_back(self.study, trial)
        return list(orphans)

    def held(self, numbers: Iterable[int]) -> set[int]:
        """Those trials that a process has, on any machine, even if it only writes the outcome."""
        numbers = set(numbers)
        expired = self._leases_elsewhere() if numbers else {}
        leased = {number for number in numbers if number in expired}
        local = {number for number in numbers - leased if trial_is_held(self.locks, number)}
        return local | {number for number in leased if not expired[number]}

    def is_held(self, number: int) -> bool:
        """Whether a process has a trial."""
        return number in self.held([number])

    def running_elsewhere(self) -> list[int]:
        """Trials that processes of other machines or results folders run."""
        leases = self._leases_elsewhere().items()
        return [number for number, expired in leases if not expired]

    @contextmanager
    def alone(self, name: str = "claims") -> Iterator[None]:
        """Hold a lock of the study, on all machines that share it.

        Raises `StudyError` if another process holds it for minutes.
        """
        long = self.leases or name == "opening"
        patience = SHARED_PATIENCE_SECONDS if long else PATIENCE_SECONDS
        with ExitStack() as stack:
            stack.callback(self._locked(name, patience).release)
            if self.leases:
                stack.enter_context(self.leases.alone(name, patience))
            yield

    @contextmanager
    def _certainly(self, number: int) -> Iterator[None]:
        """Hold the lock of all claims, and be sure of one's own."""
        with self.alone():
            if self.leases:
                self.leases.confirm(number)
            yield

    def _own(self, number: int, held: ExitStack) -> None:
        # The process that has just put the trial back may still hold it for a moment.
        held.callback(self._locked(trial_name(number), PATIENCE_SECONDS).release)
        if self.leases:
            self.leases.write(number)
            held.callback(self.leases.end, number)

    def _leases_elsewhere(self) -> dict[int, bool]:
        """See `Leases.elsewhere`: this process cannot see the lock files of these trials."""
        return self.leases.elsewhere() if self.leases else {}

    def _locked(self, name: str, patience: int) -> FileLock:
        # Not in the trial's folder, which is removed where a trial starts again.
        self.locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.locks / f"{name}.lock")
        try:
            lock.acquire(timeout=patience)
        except Timeout:
            raise StudyError(
                f"another process has held {lock.lock_file} for {patience} s, so no trial "
                "can be claimed; stop that process, and the same command continues"
            ) from None
        return lock


def deaths_of(trial: Trial | FrozenTrial) -> int:
    """How many processes have died while they ran a trial."""
    return int(trial.user_attrs.get(DEATHS, 0))
