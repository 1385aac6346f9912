"""Replays a run folder into an MLflow run, with the folder's own timestamps.

Delivering the same thing twice changes nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dcgan.evaluation.record import EvalRecord
from dcgan.runtime.files import write_text_atomic
from dcgan.runtime.pictures import lightly_compressed, read_picture
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import STEP_FIELDS, Record, read_history
from study.search.objective import closing_metrics
from study.storage.trial_record import TrialRecord
from study.tracking.client import Metric, RunTag
from study.tracking.views import FINAL_SAMPLES, RUNG, SAMPLES

BATCH = 1000
STATUS = {
    "RUNNING": "RUNNING",
    "WAITING": "SCHEDULED",
    "COMPLETE": "FINISHED",
    "PRUNED": "KILLED",
    "FAIL": "FAILED",
}
"""Optuna's state → MLflow's run status."""
TERMINAL_STATUSES = ("FINISHED", "KILLED", "FAILED")
USAGE = ("cpu_percent", "memory_peak_mib", "gpu_memory_peak_mib")
"""What a log record says of the process. MLflow shows `system/` on a page of its own."""
DELIVERED = ".delivered_to_mlflow.json"
LOG10 = "log10_"
"""How the name of a learning rate's logarithm begins."""
ENVIRONMENT = "environment.json"
"""A run's file with the fingerprints of photos and extractor, versions and devices."""


class RunMirror:
    """Replays one run folder into one MLflow run.

    `open_run` finds or creates the run, and `others` the ids of other runs of the same trial. There
    are such if a process was frozen or cut off while it created one, and another process has taken
    the trial meanwhile. `check` raises `LeaseLostError` if another process has it by now.
    """

    def __init__(
        self,
        client: Any,
        folder: Path,
        open_run: Callable[[], str],
        others: Callable[[str], list[str]],
        check: Callable[[], None],
        score: Callable[[EvalRecord], float],
        describe: Callable[[TrialRecord], tuple[str, dict[str, str]]],
    ) -> None:
        self.client = client
        self.folder = RunFolder(folder)
        self.score = score
        self.describe = describe
        self._open_run, self._others, self._check = open_run, others, check
        self.run_id: str | None = None
        """Set by `open`."""
        self._sent = 0  # records of the history that this object has delivered

    def open(self) -> str:
        """The run's id; the first call finds or creates the run. MLflow may be away until then."""
        self.run_id = self.run_id or self._open_run()
        return self.run_id

    def withdraw(self) -> None:
        """Delete the run if the trial's new owner has made another one."""
        if self.run_id and self._others(self.run_id):
            self.client.delete_run(self.run_id)

    def deliver(self) -> None:
        """Deliver the history's new records, and their pictures."""
        run_id = self.open()
        records = read_history(self.folder.history)
        metrics = [item for record in records[self._sent :] for item in self._metrics(record)]
        for start in range(0, len(metrics), BATCH):
            self.client.log_batch(run_id, metrics=metrics[start : start + BATCH])
        self._sent = len(records)
        self._deliver_grids(run_id, records)

    def set_state(self, state: str) -> None:
        """Show Optuna's state as the run's status: WAITING if the trial will be continued."""
        self.client.set_tag(self.open(), "optuna.state", state)
        set_status(self.client, self.open(), state)

    def finish(self, record: TrialRecord) -> None:
        """Deliver a trial's outcome: history, files, closing metrics, tags and status.

        The trial's owner calls this, so other runs of the trial are deleted.
        """
        run_id = self.open()
        for other in self._others(run_id):
            self._check()
            self.client.delete_run(other)
        self.deliver()
        self.deliver_files()
        ended = int((record.ended or 0.0) * 1000)
        step = max((item.step for item in read_history(self.folder.history)), default=0)
        closing = {**_log10_rates(record.params), "minutes": record.minutes}
        closing |= {RUNG: record.rung} if record.rung else {}
        closing |= closing_metrics(record)
        name, described = self.describe(record)
        tags = {"optuna.state": record.state, "reason": record.reason or "", **described}
        self.client.log_batch(
            run_id,
            metrics=[Metric(key, value, ended, step) for key, value in closing.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        self.client.log_dict(run_id, record.identity, ENVIRONMENT)
        # Its step is always 0; a trial that goes on later has another final picture.
        mark = [run_id, FINAL_SAMPLES, step]
        self._deliver_picture(self.folder.final_grid, FINAL_SAMPLES, 0, ended, mark)
        self.client.update_run(run_id, name=name)
        set_status(self.client, run_id, record.state, ended)

    def deliver_files(self) -> None:
        """Deliver the run's config, result with its FID, and closing pictures, if they exist."""
        folder = self.folder
        self._deliver_fid()
        for file in (
            folder.config,
            folder.result,
            folder.training_images,
            folder.final_grid,
            folder.losses,
            folder.real_vs_generated,
            folder.animation,
        ):
            if file.exists():
                self.client.log_artifact(self.open(), str(file))

    def _deliver_fid(self) -> None:
        """The canonical FID of a full run (`eval.fid_at_end`), which no evaluation holds."""
        try:
            result = json.loads(self.folder.result.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        scores = {name: result.get("fid", {}).get(name) for name in ("fid", "fid_custom")}
        when = int(result.get("final", {}).get("timestamp", 0.0) * 1000), result.get("steps", 0)
        found = [Metric(f"eval/{key}", value, *when) for key, value in scores.items() if value]
        if found:
            self.client.log_batch(self.open(), metrics=found)

    def _metrics(self, record: Record) -> list[Metric]:
        if isinstance(record, EvalRecord):
            values = {**_eval_metrics(record), "eval/score": self.score(record)}
        else:
            values = {f"train/{name}": getattr(record, name) for name in STEP_FIELDS}
            values["time/images_per_second"] = record.images_per_second
            used = {f"system/{name}": getattr(record, name) for name in USAGE}
            values |= {name: value for name, value in used.items() if value is not None}
        timestamp = int(record.timestamp * 1000)
        return [Metric(key, value, timestamp, record.step) for key, value in values.items()]

    def _deliver_grids(self, run_id: str, records: Sequence[Record]) -> None:
        """Deliver the grids of the untrained generator and of each evaluation.

        MLflow's image card of a run opens at step 0.
        """
        steps = {0: records[0].timestamp} if records else {}
        steps |= {item.step: item.timestamp for item in records if isinstance(item, EvalRecord)}
        for step, timestamp in steps.items():
            picture, when = self.folder.grid_path(step), int(timestamp * 1000)
            self._deliver_picture(picture, SAMPLES, step, when, [run_id, step])

    def _deliver_picture(
        self, picture: Path, key: str, step: int, when: int, mark: list[Any]
    ) -> None:
        """Deliver a picture once: unlike a metric, it would appear twice.

        `when` is in milliseconds since 1970. `mark` stands for the picture in the list of what was
        delivered; earlier releases left out the step of a final one.
        """
        marker = self.folder.path / DELIVERED
        done = _read_marker(marker)
        image = None if mark in done or mark[:2] in done else read_picture(picture)
        if image is None:
            return
        run_id, shown = mark[0], lightly_compressed(image)
        self.client.log_image(run_id, shown, key=key, step=step, timestamp=when, synchronous=True)
        write_text_atomic(marker, json.dumps([*done, mark]))


def _read_marker(marker: Path) -> list[list[Any]]:
    """The pictures delivered so far; empty if the list is damaged, so all are delivered again."""
    try:
        content = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return content if isinstance(content, list) else []


def _eval_metrics(record: EvalRecord) -> dict[str, float]:
    """The numbers of an evaluation that MLflow charts; the history has all of them."""
    from dcgan.evaluation.set_score import shown_in  # late: it loads torch

    other = f"{record.frechet_metric}_{'raw' if record.score_model == 'ema' else 'ema'}"
    charted = shown_in("mlflow", record)
    charted |= {other: record.metrics[other]} if other in record.metrics else {}
    values = {f"eval/{name}": value for name, value in charted.items()}
    if record.imbalance is not None:
        values["eval/imbalance"] = record.imbalance
    return values | {"time/eval_seconds": record.seconds}


def _log10_rates(params: Mapping[str, Any]) -> dict[str, float]:
    """log10 of the learning rates, because the parallel-coordinates view has linear axes."""
    return {
        f"{LOG10}{key}": math.log10(value)
        for key, value in params.items()
        if key.startswith("lr_") and value > 0
    }


def set_status(client: Any, run_id: str, state: str, end_time_ms: int | None = None) -> None:
    """Set a run's status from Optuna's state."""
    status = STATUS[state]
    if status in TERMINAL_STATUSES:
        client.set_terminated(run_id, status=status, end_time=end_time_ms)
    else:
        client.update_run(run_id, status=status)
