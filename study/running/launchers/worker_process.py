"""One local worker process: started, listened to, told to stop, killed."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from dcgan.runtime.children import child_environment
from study.running.launchers.pipe import decode
from study.running.observer import Event

PROGRAM = "study.cli.worker"


Messages = queue.Queue[tuple["WorkerProcess", Event | int]]
"""Events of workers; last of each, its exit code (below 0: the signal that killed it)."""


class WorkerProcess:
    """One worker process, started as often as needed.

    `number` counts from 1. `environment` holds variables beside those of this process. `log` is the
    file of its standard error, emptied at each start. Its events and its exit code are put into
    `messages`.
    """

    def __init__(
        self, number: int, environment: dict[str, str], log: Path, messages: Messages
    ) -> None:
        self.number, self.environment, self.log = number, environment, log
        self.messages = messages
        self.running = False
        """Whether its exit code is still to come."""
        self._process: subprocess.Popen[str] | None = None
        self._listener: threading.Thread | None = None

    def start(self, job: str) -> None:
        """Start the process, send it a job's line, and listen to it from a thread."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=child_environment({**os.environ, **self.environment}),
            )
        self._process, self.running = process, True
        assert process.stdin
        with suppress(BrokenPipeError):  # it is gone already: its exit code comes
            process.stdin.write(job)
            process.stdin.flush()
        self._listener = threading.Thread(target=self._listen, args=(process,), daemon=True)
        self._listener.start()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        with process.stdout:
            for line in process.stdout:
                event = decode(line)
                if event is not None:
                    self.messages.put((self, event))
        self.messages.put((self, process.wait()))

    def tell_to_stop(self) -> None:
        """Ask for a checkpoint and an end, by closing its input; no error if it is gone."""
        if self._process and self._process.stdin:
            with suppress(BrokenPipeError):
                self._process.stdin.close()

    def kill(self) -> None:
        """End it at once."""
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def dismiss(self, deadline: float) -> None:
        """Wait for its end until `deadline` (of `time.monotonic`) or a Ctrl-C, then kill it."""
        try:
            if self._process:
                self._process.wait(max(0.0, deadline - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self.kill()
        if self._listener:
            self._listener.join()

    def why_ended(self, code: int) -> str:
        """The reason of its end in words: the signal, else the last line of its log."""
        if code < 0:
            name = signal.Signals(-code).name
            hint = " (out of memory?)" if name == "SIGKILL" else ""
            return f"killed by {name}{hint}"
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {code}"
