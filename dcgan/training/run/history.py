"""A run's history, `history.jsonl`: a line of JSON for each log interval and evaluation."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeAlias

from dcgan.evaluation.record import EvalRecord
from dcgan.runtime.files import write_text_atomic

STEP_FIELDS = ("loss_d", "loss_g", "d_real", "d_fake_before", "d_fake_after")
"""What a step reports: the published Loss_D (real + fake), Loss_G, and mean D probabilities of
real photos, of fakes before D's update, and of the same fakes after it."""


@dataclass(frozen=True, kw_only=True)
class LogRecord:
    """The steps of one log interval: the means of `STEP_FIELDS`, and each step's values."""

    step: int = 0
    """The interval's last step, counted from 1."""
    epoch: int = 0
    timestamp: float = 0.0
    """When the losses were read back, in seconds since 1970."""
    loss_d: float
    loss_g: float
    d_real: float
    d_fake_before: float
    d_fake_after: float
    images_per_second: float = 0.0
    cpu_percent: float | None = None
    """Processor time over wall time since the last record (see `runtime.usage`); None: unknown."""
    memory_peak_mib: float | None = None
    """Of the process so far, with what it trained before."""
    gpu_memory_peak_mib: float | None = None
    """Of this interval."""
    every_step: dict[str, list[float]] = field(default_factory=dict)
    """Each of `STEP_FIELDS` for every step of the interval; empty if only the means are known."""

    def to_dict(self) -> dict[str, Any]:
        """Flat plain data, as a line of `history.jsonl`."""
        known = {key: value for key, value in vars(self).items() if value not in (None, {})}
        return {"kind": "log", **known}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> LogRecord:
        """Read what `to_dict` of this or an earlier release returned."""
        return cls(**{key: value for key, value in plain.items() if key in LOG_NAMES})


LOG_NAMES = frozenset(item.name for item in fields(LogRecord))
Record: TypeAlias = LogRecord | EvalRecord


def append_record(path: Path, record: Record) -> None:
    """Write one line to the disk. It never changes later."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record.to_dict(), allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def keep_up_to(path: Path, step: int) -> None:
    """Drop the records after `step`, the step of the checkpoint that the run continues from."""
    kept = [json.dumps(line) + "\n" for line in _lines(path) if line["step"] <= step]
    write_text_atomic(path, "".join(kept))


def read_history(path: Path) -> list[Record]:
    """All records of a run, oldest first; an unfinished last line is left out."""
    readers: dict[str, Any] = {"log": LogRecord.from_dict, "eval": EvalRecord.from_dict}
    return [readers[line["kind"]](line) for line in _lines(path) if line["kind"] in readers]


def read_logs(path: Path) -> list[LogRecord]:
    """The log intervals of a run, oldest first."""
    return [LogRecord.from_dict(line) for line in _lines(path) if line["kind"] == "log"]


def read_evals(path: Path) -> list[EvalRecord]:
    """The evaluations of a run, oldest first."""
    return [EvalRecord.from_dict(line) for line in _lines(path) if line["kind"] == "eval"]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                return  # a process was killed while writing this line
