"""The launcher `processes`: several worker processes of one study, restarted when they die.

A worker returns nothing but its events and its exit code. What it was doing when it died is in the
trial's folder and its last checkpoint, where the process that claims the trial next continues.
"""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import torch

from study.errors import StudyError
from study.running.claims import DEATHS, deaths_of
from study.running.context import StudyContext
from study.running.launchers.worker_process import Messages, WorkerProcess
from study.running.observer import Event, TrialBegan, TrialEnded
from study.running.trial import fail_trial
from study.running.worker import MAX_DEATHS, Job

POLL_SECONDS = 0.2
"""Between two checks for a stop request, while no event arrives."""
GRACE_SECONDS = 60.0
"""Time that workers get to save a checkpoint after a stop request."""


@dataclass(frozen=True)
class RestartPolicy:
    """When a worker that died stays dead, and when the trial in which it died has failed."""

    max_restarts: int = 3
    """Restarts of one worker since it last finished a trial."""
    max_deaths: int = MAX_DEATHS
    """Worker deaths after which a trial fails."""

    def gives_up_worker(self, restarts: int) -> bool:
        """Whether it is not started again, after so many deaths in a row."""
        return restarts > self.max_restarts

    def gives_up_trial(self, deaths: int) -> bool:
        """Whether the trial fails: it would kill workers for ever."""
        return deaths >= self.max_deaths


class Supervisor:
    """The worker processes of one launch."""

    def __init__(self, context: StudyContext, count: int) -> None:
        self.context, self.policy = context, RestartPolicy()
        self.job = Job.of(context).line()
        self.messages: Messages = queue.Queue()
        logs = context.folder.workers
        self.workers = [
            WorkerProcess(i + 1, self._environment(i), logs / f"{i + 1}.log", self.messages)
            for i in range(count)
        ]
        self.trials: dict[WorkerProcess, int] = {}
        """What each runs."""
        self.restarts = dict.fromkeys(self.workers, 0)
        self.stopping = False
        self.last_reason = ""
        """Why the last worker died."""

    def run(self) -> Generator[TrialEnded, None, None]:
        """Run until the total is finished, a stop is asked for, or no worker is left.

        Raises `StudyError` if all workers died, one after the other.
        """
        try:
            for worker in self.workers:
                worker.start(self.job)
            yield from self._listen()
        except KeyboardInterrupt:
            for worker in self.workers:
                worker.kill()
            raise
        finally:
            self._tell_to_stop()
            deadline = time.monotonic() + GRACE_SECONDS
            for worker in self.workers:
                worker.dismiss(deadline)
        if not (self._done() or self.stopping):
            raise StudyError(
                f"all workers have died; the last one: {self.last_reason}; what is finished is "
                "kept, and the same command continues"
            )

    def _listen(self) -> Iterator[TrialEnded]:
        while any(worker.running for worker in self.workers):
            if not self.stopping and self.context.should_stop():
                self.stopping = True
                self._tell_to_stop()
            try:
                worker, message = self.messages.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            if isinstance(message, int):
                ended = self._exited(worker, message)
            else:
                ended = self._heard(worker, message)
            if ended is not None:
                yield ended

    def _heard(self, worker: WorkerProcess, event: Event) -> TrialEnded | None:
        self.context.observer.tell(event, worker.number)
        if isinstance(event, TrialBegan):
            self.trials[worker] = event.trial
        if not isinstance(event, TrialEnded):
            return None
        self.trials.pop(worker, None)
        self.restarts[worker] = 0
        return event

    def _exited(self, worker: WorkerProcess, code: int) -> TrialEnded | None:
        """Restart a worker that died, and return its trial's end if too many have died in it."""
        worker.running = False
        worker.tell_to_stop()  # closes what is left of the connection
        if self.stopping or (code == 0 and self._done()):
            return None
        trial = self.trials.pop(worker, None)
        if code == 0 and trial is None:  # it found nothing to do, and then a trial went on
            worker.start(self.job)
            return None
        self.last_reason = worker.why_ended(code)
        ended = None if trial is None else self._count_death(trial)
        self.restarts[worker] = self.restarts[worker] + 1 if ended is None else 0
        on = "" if trial is None else f" in trial {trial}"
        what = "it is started again"
        if gives_up := self.policy.gives_up_worker(self.restarts[worker]):
            what = f"given up after {self.policy.max_restarts} restarts"
        self.context.warn(f"worker {worker.number} died{on}: {self.last_reason}; {what}")
        if not gives_up:
            worker.start(self.job)
        return ended

    def _count_death(self, number: int) -> TrialEnded | None:
        with self.context.claims.take(number) as trial:
            if trial is None:
                return None
            deaths = deaths_of(trial) + 1
            trial.set_user_attr(DEATHS, deaths)
            if not self.policy.gives_up_trial(deaths):
                return None
            reason = f"its worker died {deaths} times, last: {self.last_reason}"
            outcome = fail_trial(self.context, trial, reason)
            return TrialEnded(number, outcome.state.name, outcome.reason)

    def _tell_to_stop(self) -> None:
        for worker in self.workers:
            worker.tell_to_stop()

    def _done(self) -> bool:
        return not self.context.left

    def _environment(self, index: int) -> dict[str, str]:
        """Threads for libraries that read them from the environment, and the worker's GPU."""
        threads = self.context.config.base.train.threads
        changes = {"OMP_NUM_THREADS": str(threads)} if threads else {}
        if self.context.extractor.device.type == "cuda":
            given = os.environ.get("CUDA_VISIBLE_DEVICES")
            gpus = given.split(",") if given else [str(i) for i in range(torch.cuda.device_count())]
            changes["CUDA_VISIBLE_DEVICES"] = gpus[index % len(gpus)]
        return changes
