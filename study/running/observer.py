"""What a running study tells whoever watches it; between processes, one JSON object a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from dcgan.config.train_config import TrainConfig
from dcgan.training.run.history import EvalRecord, LogRecord

if TYPE_CHECKING:
    from optuna.trial import Trial

Event = dict[str, Any]
"""`kind` and what belongs to it:

- `begin`: a trial starts (`trial`, `text`: its parameters in words)
- `start`: its training starts (`total_steps`, `done`, `steps_per_epoch`, `epochs`)
- `log`: losses were read back (`record`, without the single steps)
- `eval`: it was scored (`record`)
- `warning`: something a person should read (`text`)
- `outcome`: it ended (`state`, `reason`)
"""


@dataclass(frozen=True)
class Hooks:
    """What a trial tells the outside while it runs, and asks of it."""

    on_begin: Callable[[Trial, TrainConfig], None] = lambda trial, config: None
    on_start: Callable[..., None] = lambda schedule, done: None
    on_log: Callable[[LogRecord], None] = lambda record: None
    on_eval: Callable[[EvalRecord], Any] = lambda record: None
    on_warning: Callable[[str], None] = lambda text: None
    on_worker: Callable[[int, Event], None] = lambda worker, event: None
    """Called instead of the others, except `on_warning`, for what worker processes tell."""
    on_standing: Callable[[str], None] = lambda text: None
    """Called with the best score so far, in words, after each trial."""
    should_stop: Callable[[], bool] = lambda: False


class Sender:
    """Writes events where nothing else is written: other output goes to standard error."""

    def __init__(self) -> None:
        self.stream: TextIO = sys.stdout
        sys.stdout = sys.stderr

    def send(self, kind: str, **values: Any) -> None:
        """Write one event; a launcher that is gone is no reason to fail (see `worker`)."""
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
