"""Several worker processes of one study: started, listened to, restarted when they die.

Each runs `worker`; only its events and its exit code come back. What a worker was doing when
it died is in the trial's folder and its last checkpoint: whoever claims the trial next continues
there.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from optuna.trial import TrialState

from study.errors import StudyError
from study.running.context import Outcome, Workbench
from study.running.observer import Event, parse
from study.running.trial import fail_trial
from study.running.worker import Job
from study.storage.optuna_db import finished_count

MAX_RESTARTS = 3
"""Of one worker in a row."""
MAX_DEATHS = 3
"""Workers that one trial may take with it."""
GRACE_SECONDS = 60.0
"""For workers to save a checkpoint when told to stop."""


@dataclass
class Worker:
    """One worker process and what is known of it."""

    number: int
    """From 1."""
    environment: dict[str, str]
    log: Path
    """Its standard error, anew at each start."""
    process: subprocess.Popen[str] | None = None
    listener: threading.Thread | None = None
    trial: int | None = None
    """The trial it runs."""
    restarts: int = 0
    """In a row: since it last brought a trial to its end."""
    running: bool = False
    """Whether its `exit` is still to come."""

    def start(self, bench: Workbench, events: queue.Queue[tuple[Worker, Event]]) -> None:
        """Start the process and a thread that puts its events, and last its `exit`, on a queue."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "study.running.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **self.environment},
            )
        self.process, self.trial, self.running = process, None, True
        assert process.stdin
        with suppress(BrokenPipeError):  # it is gone already: its `exit` comes
            process.stdin.write(Job.of(bench).line())
            process.stdin.flush()

        def listen() -> None:
            assert process.stdout
            with process.stdout:
                for line in process.stdout:
                    event = parse(line)
                    if event is not None:
                        events.put((self, event))
            events.put((self, {"kind": "exit", "code": process.wait()}))

        self.listener = threading.Thread(target=listen, daemon=True)
        self.listener.start()

    def tell_to_stop(self) -> None:
        """Ask for a checkpoint and an end; a process that is gone is no error."""
        if self.process and self.process.stdin:
            with suppress(BrokenPipeError):
                self.process.stdin.close()

    def kill(self) -> None:
        """End it at once."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def reason(self, code: int) -> str:
        """Why it ended, in words."""
        if code < 0:
            name = signal.Signals(-code).name
            hint = " (out of memory?)" if name == "SIGKILL" else ""
            return f"killed by {name}{hint}"
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {code}"


@dataclass
class Pool:
    """The workers of one launch."""

    bench: Workbench
    count: int
    events: queue.Queue[tuple[Worker, Event]] = field(default_factory=queue.Queue)
    last_reason: str = ""
    """Why the last worker died that did."""

    def outcomes(self) -> Iterator[Outcome]:
        """Run until the study's total is finished, a stop is wished for, or no worker is left.

        Yields:
            Each trial's outcome, as its worker tells it.

        Raises:
            StudyError: all workers died, one after the other.
        """
        folder, hooks = self.bench.folder, self.bench.hooks
        workers = [
            Worker(number + 1, self._environment(number), folder.workers / f"{number + 1}.log")
            for number in range(self.count)
        ]
        try:
            for worker in workers:
                worker.start(self.bench, self.events)
            stopping = False
            while any(worker.running for worker in workers):
                if hooks.should_stop() and not stopping:
                    stopping = True
                    for worker in workers:
                        worker.tell_to_stop()
                try:
                    worker, event = self.events.get(timeout=0.2)
                except queue.Empty:
                    continue
                if event["kind"] == "exit":
                    outcome = self._ended(worker, event["code"], stopping)
                else:
                    outcome = self._heard(worker, event)
                if outcome is not None:
                    yield outcome
        except KeyboardInterrupt:
            for worker in workers:
                worker.kill()
            raise
        finally:
            self._dismiss(workers)
        done = finished_count(self.bench.study) >= self.bench.config.study.trials
        if not done and not stopping:
            raise StudyError(
                f"all workers have died; the last one: {self.last_reason}; what is finished is "
                "kept, and the same command continues"
            )

    def _heard(self, worker: Worker, event: Event) -> Outcome | None:
        if event["kind"] == "begin":
            worker.trial = event["trial"]
        self.bench.hooks.on_worker(worker.number, event)
        if event["kind"] != "outcome":
            return None
        worker.trial, worker.restarts = None, 0
        return Outcome(TrialState[event["state"]], event["reason"])

    def _ended(self, worker: Worker, code: int, stopping: bool) -> Outcome | None:
        """After a process's end: start it again where there is work left for it.

        Returns:
            The outcome of the trial it ran, if that has taken too many workers with it.
        """
        worker.running = False
        worker.tell_to_stop()  # closes what is left of the connection
        total = self.bench.config.study.trials
        if stopping or (code == 0 and finished_count(self.bench.study) >= total):
            return None
        self.last_reason = worker.reason(code)
        on = "" if worker.trial is None else f" in trial {worker.trial}"
        outcome = None if worker.trial is None else self._count_death(worker.trial)
        worker.restarts = worker.restarts + 1 if outcome is None else 0
        again = worker.restarts <= MAX_RESTARTS
        what = "it is started again" if again else f"given up after {MAX_RESTARTS} restarts"
        self.bench.hooks.on_warning(f"worker {worker.number} died{on}: {self.last_reason}; {what}")
        if again:
            worker.start(self.bench, self.events)
        return outcome

    def _count_death(self, number: int) -> Outcome | None:
        """A trial that keeps killing its worker is failed, or it would do so for ever."""
        with self.bench.claims.take(number) as trial:
            if trial is None:
                return None
            deaths = int(trial.user_attrs.get("deaths", 0)) + 1
            trial.set_user_attr("deaths", deaths)
            if deaths < MAX_DEATHS:
                return None
            reason = f"its worker died {deaths} times, last: {self.last_reason}"
            return fail_trial(self.bench, trial, reason)

    def _dismiss(self, workers: list[Worker]) -> None:
        deadline = time.monotonic() + GRACE_SECONDS
        for worker in workers:
            worker.tell_to_stop()
        for worker in workers:
            try:
                if worker.process:
                    worker.process.wait(max(0.0, deadline - time.monotonic()))
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                worker.kill()
            if worker.listener:
                worker.listener.join()

    def _environment(self, index: int) -> dict[str, str]:
        """Threads for libraries that read them from here, and the worker's GPU."""
        threads = self.bench.config.base.train.threads
        changes = {"OMP_NUM_THREADS": str(threads)} if threads else {}
        if self.bench.extractor.device.type == "cuda":
            given = os.environ.get("CUDA_VISIBLE_DEVICES")
            gpus = given.split(",") if given else [str(i) for i in range(torch.cuda.device_count())]
            changes["CUDA_VISIBLE_DEVICES"] = gpus[index % len(gpus)]
        return changes
