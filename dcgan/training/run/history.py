"""A run's own record of itself: `history.jsonl`, one JSON object a line.

Kinds: `log` (one per log interval: step, epoch, timestamp, the interval's mean losses and
probabilities, images_per_second, and `every_step` with each step's values) and `eval` (scores).
Whatever else shows a run (MLflow, reports) replays this file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dcgan.runtime.files import write_text_atomic

Record = dict[str, Any]
STEP_FIELDS = ("loss_d", "loss_g", "d_real", "d_fake_before", "d_fake_after")
"""What a step reports: the published Loss_D (real + fake), Loss_G, and mean D probabilities of
real photos, of fakes before D's update, and of the same fakes after it."""


class History:
    """Appends records to a run's `history.jsonl`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: Record) -> None:
        """Add one line; a reader or a crash never sees a record that later changes."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def keep_up_to(self, step: int) -> None:
        """Drop the records after `step`: they were written after the checkpoint now continued."""
        kept = [record for record in read_history(self.path) if record["step"] <= step]
        write_text_atomic(self.path, "".join(json.dumps(record) + "\n" for record in kept))


def read_history(path: Path, kind: str | None = None) -> list[Record]:
    """All records of a run (of one kind), oldest first; an unfinished last line is left out."""
    return [record for record in _records(path) if kind in (None, record["kind"])]


def _records(path: Path) -> Iterator[Record]:
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                return  # a process was killed while writing this line
