"""The MLflow mirror of a study. Told to it through `study.mlflow_client` alone.

A trial's folder is written first; `RunMirror` replays it into an MLflow run with the folder's own
timestamps, so delivering the same thing twice changes nothing. Nothing here is global: every call
goes through a client with an absolute tracking URI.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from PIL import Image

from dcgan.runtime.files import write_text_atomic
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import Record, read_history
from study.mlflow_client import Metric, Param, RunTag, ViewType, open_client, required
from study.storage.store import Store, trial_name
from study.storage.trial_record import TrialRecord

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
LOG_METRICS = ("loss_d", "loss_g", "d_real", "d_fake_before", "d_fake_after")
DELIVERED = ".delivered_to_mlflow.json"


class Tracker:
    """One study's experiment in the store's MLflow database or on its server.

    Args:
        experiment_id: of the experiment, which is looked up or made if left out.
    """

    def __init__(self, store: Store, study_name: str, experiment_id: str | None = None) -> None:
        self.study_name = study_name
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self.store = store
        with required("open", store):
            self.client = open_client(store)
            self.experiment_id = experiment_id or self._experiment(store)

    def _experiment(self, store: Store) -> str:
        found = self.client.get_experiment_by_name(self.study_name)
        if found is None:
            # An explicit absolute place, else artifacts land relative to the working folder. A
            # server has its own.
            location = None if store.tracking else (store.artifacts / self.study_name).as_uri()
            return str(self.client.create_experiment(self.study_name, artifact_location=location))
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def parent_run(self, config: Path, tags: Mapping[str, Any]) -> str:
        """The run that stands for the whole study; made on the first call."""
        with required("open", self.store):
            run_id = self._find("tags.kind = 'study'")
            if run_id is None:
                run_id = self._create(f"study {self.study_name}", {"kind": "study", **tags})
                self.client.log_artifact(run_id, str(config))
        return run_id

    def mirror(
        self,
        kind: str,
        number: int,
        parent_run_id: str,
        folder: Path,
        *,
        params: Mapping[str, Any],
        tags: Mapping[str, Any],
        score: Callable[[Record], float],
        fresh: bool = False,
    ) -> RunMirror:
        """What keeps the MLflow run of a trial up to date with its folder.

        Args:
            kind: `trial`, or `full` for the full run of one.
            score: maps an `eval` record to the study's objective.
            fresh: the folder has not been shown yet, so that a run which is there was shown from
                another machine's folder, and goes: its points would be there twice.
        """
        name = trial_name(number) if kind == "trial" else f"full run of {trial_name(number)}"
        fixed = {"kind": kind, "optuna.trial_number": number, "mlflow.parentRunId": parent_run_id}
        all_tags = {key: str(value) for key, value in {**fixed, **tags}.items()}

        def open_run() -> str:
            begun = f"tags.kind = '{kind}' AND tags.`optuna.trial_number` = '{number}'"
            run_id = self._find(begun)
            while fresh and run_id is not None:
                self.delete_run(run_id)
                run_id = self._find(begun)
            run_id = run_id or self._create(name, all_tags)
            self.client.log_batch(
                run_id,
                params=[Param(key, str(value)) for key, value in params.items()],
                tags=[RunTag(key, value) for key, value in all_tags.items()],
            )
            self.client.update_run(run_id, status="RUNNING")
            return run_id

        return RunMirror(self.client, folder, open_run, score)

    def trial_statuses(self) -> dict[int, str]:
        """Trial number → status of its run; `DELETED` if a person deleted it in the UI."""
        return _trial_statuses(self.client, self.experiment_id)

    def run_status(self, run_id: str) -> str:
        """A run's status as MLflow names it."""
        return str(self.client.get_run(run_id).info.status)

    def publish_study(self, run_id: str, note: str, files: list[Path]) -> None:
        """Show the study's note and current files on its parent run and its experiment."""
        for file in files:
            if file.exists():
                self.client.log_artifact(run_id, str(file))
        self.client.set_tag(run_id, "mlflow.note.content", note)
        self.client.set_experiment_tag(self.experiment_id, "mlflow.note.content", note)

    def delete_run(self, run_id: str) -> None:
        """Hide a run whose numbers will be made again."""
        self.client.delete_run(run_id)

    def set_status(self, run_id: str, state: str) -> None:
        """Set a run's status from Optuna's state."""
        _set_status(self.client, run_id, STATUS[state])

    def _find(self, filter_string: str) -> str | None:
        runs = self.client.search_runs([self.experiment_id], filter_string, max_results=1)
        return runs[0].info.run_id if runs else None

    def _create(self, name: str, tags: Mapping[str, Any]) -> str:
        text = {key: str(value) for key, value in tags.items()}  # a server takes nothing else
        run = self.client.create_run(self.experiment_id, tags=text, run_name=name)
        return str(run.info.run_id)


class RunMirror:
    """Replays one run folder into one MLflow run."""

    def __init__(
        self,
        client: Any,
        folder: Path,
        open_run: Callable[[], str],
        score: Callable[[Record], float],
    ) -> None:
        self.client = client
        self.folder = RunFolder(folder)
        self.score = score
        self._open_run = open_run
        self._run_id: str | None = None
        self._sent = 0
        """Records of the history delivered by this object."""

    @property
    def run_id(self) -> str | None:
        """The run's id; none before it was opened."""
        return self._run_id

    def open(self) -> str:
        """The run's id; found or made when first needed, so that MLflow may be away until then."""
        if self._run_id is None:
            self._run_id = self._open_run()
        return self._run_id

    def deliver(self) -> None:
        """Deliver the history's new records, and the picture of each evaluation."""
        run_id = self.open()
        records = read_history(self.folder.history)
        metrics = [item for record in records[self._sent :] for item in self._metrics(record)]
        for start in range(0, len(metrics), BATCH):
            self.client.log_batch(run_id, metrics=metrics[start : start + BATCH])
        self._sent = len(records)
        self._deliver_grids(run_id, [record for record in records if record["kind"] == "eval"])

    def set_state(self, state: str) -> None:
        """Show an Optuna state as the run's status: WAITING for one that will be continued."""
        self.client.set_tag(self.open(), "optuna.state", state)
        _set_status(self.client, self.open(), STATUS[state])

    def finish(self, record: TrialRecord, score_names: Mapping[str, float]) -> None:
        """Deliver the outcome: files, `objective` and other closing metrics, tags, status."""
        run_id = self.open()
        self.deliver()
        self.deliver_files()
        ended = int((record.ended or 0.0) * 1000)
        step = max((item["step"] for item in read_history(self.folder.history)), default=0)
        closing = [Metric(key, value, ended, step) for key, value in score_names.items()]
        tags = {"optuna.state": record.state, "reason": record.reason or ""}
        self.client.log_batch(
            run_id, metrics=closing, tags=[RunTag(key, value) for key, value in tags.items()]
        )
        _set_status(self.client, run_id, STATUS[record.state], ended)

    def deliver_files(self) -> None:
        """Deliver the run's config and closing pictures, those that exist."""
        folder = self.folder
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

    def _metrics(self, record: Record) -> list[Metric]:
        if record["kind"] == "log":
            values = {f"train/{name}": record[name] for name in LOG_METRICS}
            values["time/images_per_second"] = record["images_per_second"]
        else:
            values = {**_eval_metrics(record), "eval/score": self.score(record)}
        timestamp = int(record["timestamp"] * 1000)
        return [Metric(key, value, timestamp, record["step"]) for key, value in values.items()]

    def _deliver_grids(self, run_id: str, evaluations: list[Record]) -> None:
        marker = self.folder.path / DELIVERED
        done = _read_marker(marker)
        for record in evaluations:
            step, picture = record["step"], self.folder.grid_path(record["step"])
            if [run_id, step] in done or not picture.exists():
                continue
            with Image.open(picture) as image:
                image.load()
                self.client.log_image(
                    run_id,
                    image,
                    key="samples/fixed_noise",
                    step=step,
                    timestamp=int(record["timestamp"] * 1000),
                    synchronous=True,
                )
            # Pictures, unlike metrics, would appear twice when delivered twice.
            done.append([run_id, step])
            write_text_atomic(marker, json.dumps(done))


def statuses_on_server(store: Store, name: str) -> dict[int, str]:
    """Trial number → status of its run in a study's experiment; nothing is made.

    Raises:
        StudyError: the server does not answer.
    """
    with required("ask", store):
        client = open_client(store)
        found = client.get_experiment_by_name(name)
        return _trial_statuses(client, found.experiment_id) if found else {}


def _trial_statuses(client: Any, experiment_id: str) -> dict[int, str]:
    statuses: dict[int, str] = {}
    token: str | None = None
    while True:
        page = client.search_runs(
            [experiment_id], "tags.kind = 'trial'", ViewType.ALL, 1000, page_token=token
        )
        for run in page:
            number = int(run.data.tags["optuna.trial_number"])
            if run.info.lifecycle_stage == "active":
                statuses[number] = run.info.status
            else:
                statuses.setdefault(number, "DELETED")
        token = page.token
        if not token:
            return statuses


def experiment_ids(store: Store) -> dict[str, str]:
    """Names and ids of the store's experiments that hold a study."""
    with required("open", store):
        experiments = open_client(store).search_experiments(order_by=["name ASC"])
    return {item.name: item.experiment_id for item in experiments if item.name != "Default"}


def forget_experiment(store: Store, name: str) -> None:
    """Delete a study's experiment, and free its name for another one.

    MLflow only marks experiments deleted (`mlflow gc` removes what is marked).

    Raises:
        StudyError: MLflow's database cannot be changed.
    """
    rest = "; nothing else was deleted"
    with required(f"delete the experiment '{name}' in", store, rest):
        client = open_client(store)
        found = client.get_experiment_by_name(name)
        if found is None:
            return
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        client.rename_experiment(found.experiment_id, f"{name} (deleted {uuid4().hex[:8]})")
        client.delete_experiment(found.experiment_id)


def _read_marker(marker: Path) -> list[list[Any]]:
    """The pictures delivered so far; a damaged list delivers them again."""
    try:
        content = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return content if isinstance(content, list) else []


def _eval_metrics(record: Record) -> dict[str, float]:
    """The few numbers of an evaluation worth a chart each; the history has them all."""
    frechet, kernel = record["frechet_metric"], record["kernel_metric"]
    other = "raw" if record["score_model"] == "ema" else "ema"
    values = {
        f"eval/{frechet}": record[frechet],
        f"eval/{frechet}_{other}": record[f"{frechet}_{other}"],
        f"eval/{kernel}": record[kernel],
        "time/eval_seconds": record["seconds"],
    }
    if record["imbalance"] is not None:
        values["eval/imbalance"] = record["imbalance"]
    # Each is there only where it could be computed.
    extra = ("precision", "coverage", f"{frechet}_times_floor", f"{frechet}_holdout")
    return values | {f"eval/{name}": record[name] for name in extra if name in record}


def log10_metrics(params: Mapping[str, Any]) -> dict[str, float]:
    """log10 of the learning rates, which the parallel-coordinates view shows on a fair scale."""
    return {
        f"log10_{key}": math.log10(value)
        for key, value in params.items()
        if key.startswith("lr_") and value > 0
    }


def _set_status(client: Any, run_id: str, status: str, end_time_ms: int | None = None) -> None:
    if status in TERMINAL_STATUSES:
        client.set_terminated(run_id, status=status, end_time=end_time_ms)
    else:
        client.update_run(run_id, status=status)
