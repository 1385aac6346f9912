"""What a worker process tells the launcher: one JSON object a line on its standard output."""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO

Event = dict[str, Any]
"""`kind` and what belongs to it:

- `begin`: a trial starts (`trial`, `text`: its parameters in words)
- `start`: its training starts (`total_steps`, `done`, `steps_per_epoch`, `epochs`)
- `log`: losses were read back (`record`, without the single steps)
- `eval`: it was scored (`record`)
- `warning`: something a person should read (`text`)
- `outcome`: it ended (`state`, `reason`)
"""


class Sender:
    """Writes events where nothing else is written: other output goes to standard error."""

    def __init__(self) -> None:
        self.stream: TextIO = sys.stdout
        sys.stdout = sys.stderr

    def send(self, kind: str, **values: Any) -> None:
        """Write one event; a launcher that is gone is no reason to fail (see `study.worker`)."""
        try:
            self.stream.write(json.dumps({"kind": kind, **values}) + "\n")
            self.stream.flush()
        except BrokenPipeError:
            pass


def parse(line: str) -> Event | None:
    """The event of a line; none for anything else that found its way there."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "kind" in event else None
