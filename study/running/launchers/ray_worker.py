"""A worker on a Ray cluster: an actor that runs trials and is asked for its events."""

from __future__ import annotations

import os
import queue
import threading
import warnings
from dataclasses import replace
from typing import Any

EVENTS_SECONDS = 0.5
"""How long a call waits for the first event."""
FINISHED = "finished"
"""The last line of a worker that found nothing left to do, or was asked to stop."""
FAILED = "failed: "
"""How the last line of a worker begins that ended with an error."""


class RayWorker:
    """Runs trials in one thread; others tell its events and hear that it should stop."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.lines: queue.Queue[str] = queue.Queue()

    def run(self, job: dict[str, Any], bank: Any, variables: dict[str, str]) -> None:
        """Run trials of the job's study until its total is finished or it should stop.

        `variables` are the launcher's, with passwords: Ray would show those of `runtime_env`.
        """
        os.environ |= variables
        from dcgan.errors import first_line

        try:
            from dcgan.runtime.imports import quick_imports

            with quick_imports():
                from study.running.launchers.pipe import Pipe
                from study.running.worker import Job, run_job
            run_job(Job(**job), Pipe(self, self.stopping), _with_tensors(bank))
            self.lines.put(FINISHED)
        except BaseException as error:
            self.lines.put(FAILED + first_line(error))

    def events(self) -> tuple[str, str, list[str]]:
        """Ray's id of the node, its address, and the events since the last call."""
        import ray

        where = ray.get_runtime_context().get_node_id(), str(ray.util.get_node_ip_address())
        lines = []
        try:
            lines.append(self.lines.get(timeout=EVENTS_SECONDS))
            while True:
                lines.append(self.lines.get_nowait())
        except queue.Empty:
            return *where, lines

    def stop(self) -> None:
        """Save a checkpoint and end."""
        self.stopping.set()

    def write(self, line: str) -> None:
        """Take the line of an event (see `Pipe`)."""
        self.lines.put(line)

    def flush(self) -> None:
        """Do nothing: lines are taken at once."""


def _with_tensors(bank: Any) -> Any:
    """The bank with a tensor over the pixels that all processes of a node share."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the pixels cannot be written, which nobody does
        return replace(bank, images=torch.from_numpy(bank.images))
