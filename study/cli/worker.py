"""The program of a local worker process: `python -m study.cli.worker`.

It reads a `Job` from the first line of its standard input and writes events as lines of JSON to its
standard output. When its standard input ends, because the launcher asks it to stop or is gone, it
saves a checkpoint and stops.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading

from dcgan.cli.console import run_app
from dcgan.runtime.imports import quick_imports
from dcgan.runtime.signals import HANGUP


def main() -> None:
    """Run trials of a study that a launcher has opened."""
    # What a terminal sends to all its processes is the launcher's to handle.
    for number in (signal.SIGINT, HANGUP):
        if number is not None:
            signal.signal(number, signal.SIG_IGN)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    line = sys.stdin.readline()
    if not line:  # the launcher was gone before it said anything
        return
    threading.Thread(target=_stop_at_end_of_input, args=(stop,), daemon=True).start()
    run_app(lambda: _run(line, stop))


def _run(line: str, stop: threading.Event) -> None:
    with quick_imports():
        from study.running.launchers.pipe import Pipe
        from study.running.worker import Job, run_job
    pipe, sys.stdout = Pipe(sys.stdout, stop), sys.stderr  # what libraries print is no event
    run_job(Job(**json.loads(line)), pipe)


def _stop_at_end_of_input(stop: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    stop.set()


if __name__ == "__main__":
    main()
