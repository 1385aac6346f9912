"""The observer of a worker process: events become lines of JSON, which its launcher decodes."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol, get_args

from dcgan.evaluation.record import EvalRecord
from dcgan.training.run.history import LogRecord
from study.running.observer import Event, LossesLogged

RECORDS: dict[str, Any] = {"LossesLogged": LogRecord.from_dict, "Scored": EvalRecord.from_dict}
EVENTS: dict[str, type[Event]] = {kind.__name__: kind for kind in get_args(Event)}


def encode(event: Event) -> str:
    """One line. The losses of single steps stay in the trial's history: nobody shows them."""
    if isinstance(event, LossesLogged):
        event = replace(event, record=replace(event.record, every_step={}))
    values = {"event": type(event).__name__, **vars(event)}
    return json.dumps(values, default=lambda record: record.to_dict()) + "\n"


def decode(line: str) -> Event | None:
    """The event of a line; None for anything else that a library has printed there."""
    try:
        values = json.loads(line)
        name = values.pop("event")
        if name in RECORDS:
            values["record"] = RECORDS[name](values["record"])
        return EVENTS[name](**values)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


class Lines(Protocol):
    """What takes the lines: a stream, or something like one."""

    def write(self, line: str, /) -> object:
        """Take a line."""

    def flush(self) -> object:
        """Pass on what was taken."""


class Pipe:
    """Writes events to a stream, and asks to stop once `stop` is set."""

    def __init__(self, stream: Lines, stop: threading.Event) -> None:
        self.stream, self.stop = stream, stop

    def tell(self, event: Event, worker: int | None = None) -> None:
        """Write one line. A launcher that is gone is no error: the worker stops by itself."""
        with suppress(OSError):
            self.stream.write(encode(event))
            self.stream.flush()

    def should_stop(self) -> bool:
        """Whether the launcher asked for it or is gone."""
        return self.stop.is_set()
