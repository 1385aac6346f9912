"""A trial's folder is put where all machines reach it while the trial runs, and comes from there.

Nothing waits for the shared place (`--artifacts`) but the end of a trial, so that a trial that
another machine may claim at once has its checkpoint there. A place that cannot be reached is told,
and made up for when it can be again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from dcgan.errors import DcganError
from dcgan.training.run.folder import RunFolder
from study.errors import LeaseLostError, SharedPlaceError
from study.results.checkpoints import without_checkpoint
from study.running.context import StudyContext
from study.running.throttle import Throttle
from study.storage.shared_trials import Manifest, SharedTrial, SharedTrials, changed, known_manifest
from study.storage.store import Store, trial_name
from study.storage.trial_record import TrialRecord

LOOK_SECONDS = 1.0
"""Time between two looks whether there is a new checkpoint."""
PAUSE_SECONDS = 5.0
"""The least pause after a folder was put."""
SHARE = 0.1
"""The largest part of the time in which a trial's folder is being put."""
TRIES = 3
"""How often the folder of a trial that ends is put, if the place cannot be reached."""


class Traveller:
    """Keeps one trial's folder in the shared place up to date; does nothing without a place.

    `check` raises `LeaseLostError` once the trial is another process's.
    """

    def __init__(
        self, context: StudyContext, number: int, check: Callable[[], None] = lambda: None
    ) -> None:
        self.warn, self.check, self.number = context.warn, check, number
        self.folder = context.folder.trial(number)
        self.shared = context.shared
        self._attempt: int | None = None
        self._seen: float | None = None
        """When the checkpoint that was last put was written."""
        self._told = False

    def bring(self) -> None:
        """Bring the folder if another machine has put a later one than this disk has."""
        if self.shared is None:
            return
        try:
            bring_newest(self.shared.trial(self.number), self.folder)
        except SharedPlaceError as error:
            self.warn(f"trial {self.number} continues from what is on this machine: {error}")

    @contextmanager
    def underway(self) -> Iterator[None]:
        """Put the folder after each new checkpoint, in a thread, until the block ends."""
        if self.shared is None:
            yield
            return
        ended = threading.Event()
        thread = threading.Thread(target=self._watch, args=(ended,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _watch(self, ended: threading.Event) -> None:
        throttle = Throttle(PAUSE_SECONDS, SHARE)
        while not ended.wait(LOOK_SECONDS):
            if self._is_new():
                throttle(self._put_once)

    def _is_new(self) -> bool:
        try:
            written = RunFolder(self.folder).checkpoint.stat().st_mtime
        except OSError:
            return False
        return written != self._seen

    def _put_once(self) -> None:
        try:
            self.put()
        except LeaseLostError:
            self._seen = None  # the training loop finds it out by itself
        except (DcganError, OSError) as error:
            self._tell(error)

    def put(self) -> None:
        """Put what has changed; raises `SharedPlaceError`, `LeaseLostError` or `OSError`."""
        if self.shared is None:
            return
        self.check()
        trial, seen = self.shared.trial(self.number), self._written()
        if self._attempt is None:
            newest = trial.newest()
            # Clocks of machines differ, so the attempt before counts as well.
            self._attempt = max(int(time.time()), newest.attempt + 1 if newest else 0)
        trial.put(self.folder, self._attempt)
        self._seen = seen

    def finish(self) -> None:
        """Put the folder as it ends, before others hear of the end; try more than once."""
        if self.shared is None:
            return
        for attempt in range(TRIES):
            try:
                self.put()
                return
            except (SharedPlaceError, OSError) as error:
                failed = error
                time.sleep(2.0**attempt)
        self._tell(failed)

    def _written(self) -> float | None:
        checkpoint = RunFolder(self.folder).checkpoint
        return checkpoint.stat().st_mtime if checkpoint.exists() else None

    def _tell(self, error: Exception) -> None:
        if not self._told:  # once a trial
            self._told = True
            self.warn(
                f"trial {self.number} goes on, but other machines do not have its checkpoint: "
                f"{error}"
            )


def bring_newest(trial: SharedTrial, folder: Path) -> bool:
    """Bring a trial's folder if the shared one is another machine's, and so a later one.

    Also if the checkpoint is there but not on this disk any more. Returns whether it came. The
    trial then gets a fresh run in MLflow, which may have seen more of it than its checkpoint has.
    """
    newest = trial.newest()
    if newest is None or not _is_later(newest, folder):
        return False
    trial.bring(newest, folder)
    if record := TrialRecord.load(folder):
        replace(record, run_id=None).save(folder)
    return True


def _is_later(newest: Manifest, folder: Path) -> bool:
    known = known_manifest(folder)
    if known is None or known.attempt != newest.attempt:
        return True
    return newest.checkpoint is not None and not RunFolder(folder).checkpoint.exists()


def bring_trial(store: Store, study: str, number: int) -> None:
    """Bring the folder of a trial of any study, if this disk lacks its checkpoint.

    Raises `SharedPlaceError` if the place cannot be reached.
    """
    shared, folder = SharedTrials.of(store, study), store.study(study).trial(number)
    if shared and not RunFolder(folder).checkpoint.exists():
        bring_newest(shared.trial(number), folder)


def drop_shared_checkpoints(context: StudyContext) -> None:
    """Remove the checkpoints that no trial needs any more from the shared place.

    A trial that is revived at this very moment starts again from step 0.
    """
    shared = context.shared
    if shared is None:
        return
    try:
        for number in without_checkpoint(context.study, context.config.checkpoints):
            if number not in shared.dropped:
                shared.trial(number).drop_checkpoints()
                shared.dropped.add(number)
    except SharedPlaceError as error:
        context.warn(f"checkpoints that nobody needs stay in the shared place: {error}")


def catch_up_shared(context: StudyContext) -> None:
    """Put the folders that could not be put when they changed."""
    if context.shared is None:
        return
    for number, folder in context.folder.trials().items():
        if not changed(folder) or context.claims.is_held(number):
            continue
        trial, known = context.shared.trial(number), known_manifest(folder)
        try:
            newest = trial.newest()
            mine = known.attempt if known else 0
            if newest is None or newest.attempt == mine:
                trial.put(folder, mine or int(time.time()))
        except (SharedPlaceError, OSError) as error:
            context.warn(f"{trial_name(number)} is not in the shared place yet: {error}")
            return
