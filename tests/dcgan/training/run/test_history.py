"""The history is read as it was written, by this release or an earlier one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dcgan.evaluation.record import EvalRecord
from dcgan.training.run.history import (
    STEP_FIELDS,
    LogRecord,
    append_record,
    keep_up_to,
    read_evals,
    read_history,
    read_logs,
)

LOG: dict[str, Any] = {
    "kind": "log",
    "step": 2,
    "epoch": 1,
    "timestamp": 1.5,
    **dict.fromkeys(STEP_FIELDS, 0.25),
    "images_per_second": 100.0,
    "every_step": {name: [0.0, 0.5] for name in STEP_FIELDS},
}
EVAL: dict[str, Any] = {
    "kind": "eval",
    "step": 4,
    "epoch": 2,
    "timestamp": 2.5,
    "frechet_metric": "fd_random",
    "kernel_metric": "kd_random",
    "fd_random": 18.5,
    "kd_random": 0.125,
    "spread": 0.5,
    "fd_random_ema": 18.5,
    "fd_random_raw": 25.0,
    "imbalance": None,
    "log_loss_ratio": None,
    "score_model": "ema",
    "n_samples": 64,
    "n_real": 28,
    "n_holdout": 12,
    "extractor": "random",
    "extractor_fingerprint": "081c",
    "seconds": 0.75,
}
"""Lines as an earlier release wrote them."""
SHORT = {key: EVAL[key] for key in ("kind", "step", "epoch", "fd_random", "frechet_metric")}


def written(path: Path, *lines: dict[str, Any], end: str = "") -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + end)
    return path


def test_lines_are_read_and_written_as_they_were(tmp_path: Path) -> None:
    path = written(tmp_path / "old.jsonl", LOG, EVAL)
    new = tmp_path / "new.jsonl"
    for record in read_history(path):
        append_record(new, record)
    assert new.read_bytes() == path.read_bytes()
    (log,), (scored,) = read_logs(path), read_evals(path)
    assert [log, scored] == read_history(path) == read_history(new)
    assert (log.loss_g, log.every_step["d_real"]) == (0.25, [0.0, 0.5])
    assert (scored.frechet, scored.kernel, scored.imbalance) == (18.5, 0.125, None)
    assert list(scored.metrics) == [
        *("fd_random", "kd_random", "spread", "fd_random_ema", "fd_random_raw")
    ]


def test_a_log_record_may_leave_the_single_steps_out() -> None:
    brief = {key: value for key, value in LOG.items() if key != "every_step"}
    assert LogRecord.from_dict(brief).to_dict() == brief


@pytest.mark.parametrize("line", [SHORT, SHORT | {"note": "unknown", "list": [1], "none": None}])
def test_missing_and_unknown_keys_are_tolerated(tmp_path: Path, line: dict[str, Any]) -> None:
    (record,) = read_evals(written(tmp_path / "old.jsonl", line, LOG | {"unknown": 1}))
    assert record == EvalRecord(
        step=4, epoch=2, frechet_metric="fd_random", metrics={"fd_random": 18.5}
    )


def test_an_unfinished_last_line_is_left_out(tmp_path: Path) -> None:
    path = written(tmp_path / "cut.jsonl", LOG, EVAL, end='{"kind": "log", "st')
    assert len(read_history(path)) == 2
    assert read_history(tmp_path / "none.jsonl") == []


def test_what_came_after_a_checkpoint_goes_and_the_rest_stays_as_it_is(tmp_path: Path) -> None:
    path = written(tmp_path / "long.jsonl", LOG, SHORT | {"note": "unknown"}, LOG | {"step": 5})
    before = path.read_text().splitlines()
    keep_up_to(path, 4)
    assert path.read_text().splitlines() == before[:2]
