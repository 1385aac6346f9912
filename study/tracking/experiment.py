"""The MLflow mirror of a study. Told to it through `study.tracking.client` alone.

A trial's folder is written first; `RunMirror` replays it into an MLflow run with the folder's own
timestamps, so delivering the same thing twice changes nothing. Nothing here is global: every call
goes through a client with an absolute tracking URI.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from dcgan.evaluation.record import EvalRecord
from study.storage.store import Store, trial_name
from study.tracking.client import Param, RunTag, ViewType, open_client, required
from study.tracking.run_mirror import STATUS, RunMirror, set_status

NOTE_ROWS = 40  # MLflow cuts notes at 8000 characters; the whole leaderboard is an artifact


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
        score: Callable[[EvalRecord], float],
        fresh: bool = False,
    ) -> RunMirror:
        """What keeps the MLflow run of a trial up to date with its folder.

        Args:
            kind: `trial`, or `full` for the full run of one.
            score: maps an evaluation to the study's objective.
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
        set_status(self.client, run_id, STATUS[state])

    def _find(self, filter_string: str) -> str | None:
        runs = self.client.search_runs([self.experiment_id], filter_string, max_results=1)
        return runs[0].info.run_id if runs else None

    def _create(self, name: str, tags: Mapping[str, Any]) -> str:
        text = {key: str(value) for key, value in tags.items()}  # a server takes nothing else
        run = self.client.create_run(self.experiment_id, tags=text, run_name=name)
        return str(run.info.run_id)


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
