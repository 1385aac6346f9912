"""A worker on a Ray cluster: an actor that runs trials and is asked for its events."""

from __future__ import annotations

import os
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
        self.lines: list[str] = []
        """What the driver has not heard for certain."""
        self.heard = 0
        """How many lines it had before those."""
        self.changed = threading.Condition()

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
            self.write(FINISHED)
        except BaseException as error:
            self.write(FAILED + first_line(error))

    def events(self, heard: int) -> tuple[str, str, int, list[str]]:
        """Ray's id of the node, its address, and the lines after the first `heard`.

        Before these lines comes their place among all. An answer may get lost on its way: lines are
        kept until a later call says that they were heard.
        """
        import ray

        where = ray.get_runtime_context().get_node_id(), str(ray.util.get_node_ip_address())
        with self.changed:
            if heard > self.heard:
                del self.lines[: heard - self.heard]
                self.heard = heard
            self.changed.wait_for(lambda: self.lines, EVENTS_SECONDS)
            return *where, self.heard, list(self.lines)

    def stop(self) -> None:
        """Save a checkpoint and end."""
        self.stopping.set()

    def write(self, line: str) -> None:
        """Take the line of an event (see `Pipe`)."""
        with self.changed:
            self.lines.append(line)
            self.changed.notify_all()

    def flush(self) -> None:
        """Do nothing: lines are taken at once."""


def _with_tensors(bank: Any) -> Any:
    """The bank with a tensor over the pixels that all processes of a node share."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the pixels cannot be written, which nobody does
        return replace(bank, images=torch.from_numpy(bank.images))
