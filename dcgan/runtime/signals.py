"""The signals that ask a process to stop."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

HANGUP: int | None = getattr(signal, "SIGHUP", None)
"""The signal of a terminal that was closed; Windows has none."""


@contextmanager
def interrupted_on_stop() -> Iterator[None]:
    """Raise `KeyboardInterrupt` at the first signal that asks this process to stop."""
    ended: list[int] = []

    def end(number: int, _: object) -> None:
        if not ended:  # a closed terminal sends several signals
            ended.append(number)
            raise KeyboardInterrupt

    with on_stop(end):
        yield


@contextmanager
def on_stop(handler: Callable[[int, Any], Any]) -> Iterator[None]:
    """Call a handler at Ctrl-C, SIGTERM and SIGHUP, until the end.

    A hangup stays ignored where `nohup` ignores it. Ctrl-C does not: a shell starts background jobs
    with Ctrl-C ignored.
    """
    numbers: list[int] = [signal.SIGINT, signal.SIGTERM]
    if HANGUP is not None and signal.getsignal(HANGUP) != signal.SIG_IGN:
        numbers.append(HANGUP)
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
