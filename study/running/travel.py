"""A trial's folder is put where all machines reach it while the trial runs, and comes from there.

Training does not wait for the shared place (`--artifacts`). The end of a trial does, for a while,
so that a trial that another machine may claim at once has its checkpoint there. A place that cannot
be reached is told, and made up for when it can be again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from optuna.study import Study
from optuna.trial import Trial

from dcgan.errors import UsageError
from dcgan.training.run.folder import RunFolder
from study.errors import DamagedError, LeaseLostError, SharedPlaceError, StudyError
from study.running.context import StudyContext
from study.running.throttle import Throttle
from study.storage.attributes import SHARED_ATTRIBUTE, with_addresses
from study.storage.optuna_db import briefly
from study.storage.places import Place
from study.storage.shared_trials import (
    Attempt,
    Known,
    SharedTrial,
    SharedTrials,
    forget_mlflow_run,
)
from study.storage.store import Store
from study.storage.trial_result import ATTEMPT

LOOK_SECONDS = 1.0
"""Time between two looks whether there is a new checkpoint."""
PAUSE_SECONDS = 30.0
"""The least pause after a folder was put: a put takes processor time from the training. A lost
machine loses the training since the last put checkpoint."""
SHARE = 0.05
"""The largest part of the time in which a trial's folder is being put: after a put of a minute, the
next comes 20 minutes later."""
TRIES = 3
"""How often a trial that begins or ends tries to reach the place."""
END_SECONDS = 40.0
"""How long the end of a trial waits; a launcher kills a worker after 60 s (`GRACE_SECONDS`)."""


class Traveller:
    """Keeps one trial's folder in the shared place up to date; does nothing without a place.

    `check` raises `LeaseLostError` once the trial is another process's.
    """

    def __init__(
        self, context: StudyContext, trial: Trial, check: Callable[[], None] = lambda: None
    ) -> None:
        self.trial, self.warn, self.check = trial, context.warn, check
        self.folder = context.folder.trial(trial.number)
        self.shared = context.shared
        self._attempt: Attempt | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        """Set when the training is over: what is put then is put by `finish`."""
        self._seen: float | None = None
        """When the checkpoint that was last put was written."""
        self._told = False

    def bring(self) -> None:
        """Bring the folder if another machine has put a later one than this disk has.

        Raises `StudyError` if that fails: without it the trial would begin again.
        """
        before = self.trial.user_attrs.get(ATTEMPT)
        if self.shared is None or before is None:
            return
        shared = self.shared.trial(self.trial.number)
        for again in range(TRIES):
            try:
                bring_newest(shared, self.folder, before)
                return
            except SharedPlaceError as error:
                failed: StudyError = error
            except OSError as error:
                raise StudyError(
                    f"cannot write {self.folder}: {error.strerror or error}"
                ) from error
            if again < TRIES - 1:
                time.sleep(2.0**again)
        if isinstance(failed, DamagedError):
            self.warn(f"trial {self.trial.number} continues from what is on this disk: {failed}")
            forget_mlflow_run(self.folder)
            return
        raise StudyError(f"trial {self.trial.number} waits to be continued: {failed}") from failed

    @contextmanager
    def underway(self) -> Iterator[None]:
        """Put the folder after new checkpoints, in a thread, until the block ends (`Throttle`)."""
        if self.shared is None:
            yield
            return
        self.check()
        number = int(self.trial.user_attrs.get(ATTEMPT) or 0) + 1
        self.trial.set_user_attr(ATTEMPT, number)
        Known(number).save(self.folder)
        shared = self.shared.trial(self.trial.number)
        self._attempt = Attempt(shared, self.folder, number, self.check)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        try:
            yield
        finally:
            self._ended.set()

    def _watch(self) -> None:
        throttle = Throttle(PAUSE_SECONDS, SHARE)
        while not self._ended.wait(LOOK_SECONDS):
            if self._written() not in (None, self._seen):
                throttle(self._put_now)

    def _put_now(self) -> None:
        """Put the folder; tell what fails, whatever it is, and go on."""
        assert self._attempt
        seen = self._written()
        try:
            self._attempt.put(self._ended.is_set)
            self._seen = seen
        except LeaseLostError:
            pass  # the training loop finds it out by itself
        except Exception as error:
            if not self._ended.is_set():
                self._tell(error)

    def finish(self) -> None:
        """Put the folder as it ends, before others hear of the end; try more than once."""
        if self._attempt is None or self._thread is None:
            return
        deadline = time.monotonic() + END_SECONDS
        self._thread.join(END_SECONDS / 2)
        if self._thread.is_alive():
            self._tell(SharedPlaceError("the place does not answer"))
            return
        failed: Exception | None = None
        for again in range(TRIES):
            try:
                self._attempt.put(lambda: time.monotonic() >= deadline)
                return
            except (SharedPlaceError, OSError) as error:
                failed = error
            if again == TRIES - 1 or time.monotonic() + 2.0**again >= deadline:
                break
            time.sleep(2.0**again)
        assert failed
        self._tell(failed)

    def _written(self) -> float | None:
        try:
            return RunFolder(self.folder).checkpoint.stat().st_mtime
        except OSError:
            return None

    def _tell(self, error: Exception) -> None:
        if not self._told:  # once a trial
            self._told = True
            self.warn(
                f"trial {self.trial.number} goes on, but other machines do not have its latest "
                f"checkpoint: {error}"
            )


def bring_newest(trial: SharedTrial, folder: Path, before: int | None) -> bool:
    """Bring a trial's folder if the shared one is later than that on this disk, or has more.

    `before` is the attempt before this one. If it was another machine's, the trial gets a fresh run
    in MLflow, which may have seen more of it than the folder has. Returns whether it came.
    """
    newest, known = trial.newest(), Known.load(folder)
    lost = not RunFolder(folder).checkpoint.exists()
    if newest and (
        known is None or newest.attempt > known.attempt or (lost and newest.has_checkpoint)
    ):
        trial.bring(newest, folder)
        return True
    if known is None or known.attempt != before:
        forget_mlflow_run(folder)
    return False


def bring_trial(store: Store, name: str, number: int) -> None:
    """Bring the folder of a trial of any study, if this disk lacks its checkpoint.

    Raises `SharedPlaceError` if its place cannot be reached, and `OSError`.
    """
    folder = store.study(name).trial(number)
    if RunFolder(folder).checkpoint.exists():
        return
    with briefly(store, name) as study:
        shared = SharedTrials.of(with_addresses(store, study), study)
        attempts = study.get_trials(deepcopy=False)[number].user_attrs.get(ATTEMPT)
    if shared and attempts is not None:
        bring_newest(shared.trial(number), folder, attempts)


def open_shared(store: Store, study: Study, *, joining: bool) -> SharedTrials | None:
    """The shared place of a study, which a launch with one begins to use.

    Raises `SharedPlaceError` if it cannot be used or is not the study's, and `UsageError` for a
    machine that joins with a place which the study does not use.
    """
    if store.shared is None:
        return None
    recorded = study.user_attrs.get(SHARED_ATTRIBUTE)
    if joining and recorded is None:
        raise UsageError(
            f"the study '{study.study_name}' was launched without --artifacts; launch it "
            "with --artifacts first"
        )
    if not joining and store.shared != recorded:
        Place.at(store.shared).check()
        SharedTrials.begin(store, study)
    shared = SharedTrials.of(store, study)
    if shared:
        shared.check()
    return shared


def drop_shared_checkpoints(context: StudyContext, useless: Collection[int]) -> None:
    """Remove the checkpoints that these trials do not need any more from the shared place.

    A trial that is revived at this very moment may have to start again from step 0.
    """
    shared = context.shared
    if shared is None:
        return
    shared.dropped &= set(useless)
    if not set(useless) - shared.dropped:
        return
    try:
        for number in shared.with_checkpoints() & set(useless):
            shared.trial(number).drop_checkpoints()
        shared.dropped |= set(useless)
    except SharedPlaceError as error:
        context.warn(f"checkpoints that nobody needs stay in the shared place: {error}")
