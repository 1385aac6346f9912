"""The MLflow experiment of a study: its parent run, and a run for each trial.

A trial's folder is written first; `RunMirror` replays it into an MLflow run. There is no global
state: every call goes through a client with an absolute tracking URI.
"""

from __future__ import annotations

import getpass
import json
import re
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from sqlalchemy.exc import SQLAlchemyError

from dcgan.evaluation.record import EvalRecord
from dcgan.runtime.version import code_version
from study.config.study_config import StudyConfig
from study.errors import UnknownStudyError
from study.search.objective import score_of
from study.storage.store import Store, StudyFolder, trial_name
from study.storage.trial_record import TrialRecord
from study.tracking.client import (
    Dataset,
    DatasetInput,
    InputTag,
    MlflowException,
    Param,
    Run,
    RunTag,
    ViewType,
    open_client,
    required,
)
from study.tracking.run_mirror import RunMirror, set_status
from study.tracking.views import FIRST_VIEW
from study.tracking.words import colour, note, run_name, standard_of, study_params

STUDY_TAG = "dcgan.study"
"""Tag of an experiment: the name of its study, whatever the experiment is called."""
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""MLflow opens such an experiment among the runs of trainings, and not among traces of GenAI."""
COLOUR = "mlflow.runColor"
"""MLflow's tag for the colour of a run; without it MLflow chooses one."""
DIGEST = 36
"""Characters of a dataset's digest in MLflow."""


class Tracker:
    """The experiment and parent run of one study, in the store's MLflow database or on its server.

    `config` says how evaluations are scored and what trials differ in. `tags` are the parent
    run's, if it is created. `runs` are the ids of the experiment and the parent run, of a launcher
    that has just opened MLflow; then errors are MLflow's own. Without `runs`, both are found or
    created, and `StudyError` is raised if MLflow cannot be opened.
    """

    def __init__(
        self,
        store: Store,
        folder: StudyFolder,
        config: StudyConfig,
        tags: Mapping[str, Any],
        runs: tuple[str, str] | None = None,
    ) -> None:
        self.store, self.folder, self.config = store, folder, config
        self.study_name = folder.path.name
        if runs:
            self.client = open_client(store)
            self.experiment_id, self.parent_run_id = runs
            return
        with required("open", store):
            self.client = open_client(store)
            self.experiment_id = self._experiment()
            self.parent_run_id = self._parent_run(tags)

    def _experiment(self) -> str:
        found = find_experiment(self.client, self.folder)
        if found is None:
            store, name = self.store, self.study_name
            # Without an absolute path, artifacts land relative to the working folder. A server has
            # its own place for them.
            location = None if store.tracking else (store.artifacts / name).as_uri()
            tags = {STUDY_TAG: name, **KIND}
            if self.client.get_experiment_by_name(name):  # another study's, renamed to this
                name = f"{name} ({uuid4().hex[:8]})"
            return str(self.client.create_experiment(name, artifact_location=location, tags=tags))
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        if not found.tags.get(STUDY_TAG):  # made by an earlier release
            self.client.set_experiment_tag(found.experiment_id, STUDY_TAG, self.study_name)
        return str(found.experiment_id)

    def _parent_run(self, tags: Mapping[str, Any]) -> str:
        run = self._find("tags.kind = 'study'")
        run_id = run.info.run_id if run else None
        if run_id is None:
            run_id = self._create(f"study {self.study_name}", {"kind": "study", **tags})
            params = [Param(key, text) for key, text in study_params(self.config).items()]
            self.client.log_batch(run_id, params=params)
            self.client.log_artifact(run_id, str(self.folder.config))
        return run_id

    def mirror_of(self, record: TrialRecord, check: Callable[[], None] = lambda: None) -> RunMirror:
        """The mirror of a trial's folder.

        If MLflow has a run of this trial that began at another time, or the record has no `run_id`
        and so was never shown, another machine's folder was shown there. That run is deleted,
        because all its points would appear twice. Before that, and before a run is created, `check`
        is called, which raises an error if the trial is another process's by now.
        """
        tags = {"seed": record.seed, "origin": record.origin, "optuna.state": record.state}
        if record.baseline:
            tags["baseline"] = record.baseline
        started = datetime.fromtimestamp(record.started, UTC)
        tags["started"] = started.isoformat()
        folder = self.folder.trial(record.number)
        return self._mirror("trial", record.number, folder, record.params, tags, record, check)

    def mirror_of_full_run(
        self, number: int, params: Mapping[str, Any], tags: Mapping[str, Any]
    ) -> RunMirror:
        """The mirror of the folder of a trial's full run."""
        return self._mirror("full", number, self.folder.full_run(number), params, tags)

    @cached_property
    def _standard(self) -> tuple[str, dict[str, Any]]:
        return standard_of(self.config)

    def describe(self, record: TrialRecord) -> tuple[str, dict[str, str]]:
        """The name of a trial's run, and the tags with its description and colour."""
        name, standard = self._standard
        tags = {"mlflow.note.content": note(record, self.study_name, name, standard)}
        if shown := colour(record):
            tags[COLOUR] = shown
        return run_name(record, standard), tags

    def _mirror(
        self,
        kind: str,
        number: int,
        folder: Path,
        params: Mapping[str, Any],
        tags: Mapping[str, Any],
        record: TrialRecord | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> RunMirror:
        name = f"full run of {trial_name(number)}"
        described: dict[str, str] = {}
        if record:
            name, described = self.describe(record)
        fresh = record is not None and record.run_id is None
        tags = {
            "kind": kind,
            "optuna.trial_number": number,
            "mlflow.parentRunId": self.parent_run_id,
            **tags,
            **described,
        }

        same = f"tags.kind = '{kind}' AND tags.`optuna.trial_number` = '{number}'"

        def others(run_id: str) -> list[str]:
            found = self.client.search_runs([self.experiment_id], same)
            return [run.info.run_id for run in found if run.info.run_id != run_id]

        def open_run() -> str:
            while run := self._find(same):
                began = run.data.tags.get("started", tags.get("started"))
                if not fresh and began == tags.get("started"):
                    break
                check()
                self.client.delete_run(run.info.run_id)
            run_id = run.info.run_id if run else None
            if run and COLOUR in run.data.tags and COLOUR not in tags:
                self.client.delete_tag(run_id, COLOUR)  # of a trial that waited on a rung
            if run_id is None:
                check()
                run_id = self._create(name, tags)
                self._log_photos(run_id, record)
            self.client.log_batch(
                run_id,
                params=[Param(key, str(value)) for key, value in params.items()],
                tags=[RunTag(key, str(value)) for key, value in tags.items()],
            )
            set_status(self.client, run_id, "RUNNING")
            return run_id

        objective = self.config.objective

        def score(item: EvalRecord) -> float:
            return score_of(item, objective)

        return RunMirror(self.client, folder, open_run, others, check, score, self.describe)

    def _log_photos(self, run_id: str, record: TrialRecord | None) -> None:
        """Show the photos as the run's dataset."""
        if record is None or not (digest := record.identity.get("data.fingerprint")):
            return
        data = self.config.base.data
        name = data.source if data.root is None else data.root.name
        facts = {"photos": record.identity.get("data.photos"), "image_size": data.image_size}
        dataset = Dataset(
            name=name,
            digest=digest[:DIGEST],
            source_type="local",
            source=json.dumps({"uri": name}),  # a server need not know where photos are
            profile=json.dumps(facts),
        )
        context = InputTag("mlflow.data.context", "training")
        shown = [DatasetInput(dataset, [context])]
        try:
            self.client.log_inputs(run_id, datasets=shown)
        except MlflowException as error:
            # MLflow looks whether the experiment has the dataset and then adds it: of two workers
            # that begin at once, one is refused. Then the dataset is there.
            if "unique constraint" not in str(error).lower():
                raise
            self.client.log_inputs(run_id, datasets=shown)

    def parent_status(self) -> str:
        """The parent run's status as MLflow names it."""
        return str(self.client.get_run(self.parent_run_id).info.status)

    def set_parent_state(self, state: str) -> None:
        """Set the parent run's status from Optuna's state."""
        set_status(self.client, self.parent_run_id, state)

    @cached_property
    def _source(self) -> dict[str, str]:
        """MLflow's own tags for who ran what."""
        tags = {
            "mlflow.source.type": "LOCAL",
            "mlflow.source.name": f"study run {self.study_name}",
        }
        with suppress(Exception):  # a container's user may have no name
            tags["mlflow.user"] = getpass.getuser()
        if commit := re.search(r"\(([0-9a-f]+)", code_version()):
            tags["mlflow.source.git.commit"] = commit[1]
        return tags

    def _find(self, filter_string: str) -> Run | None:
        runs = self.client.search_runs([self.experiment_id], filter_string, max_results=1)
        return runs[0] if runs else None

    def _create(self, name: str, tags: Mapping[str, Any]) -> str:
        text = {key: str(value) for key, value in (self._source | dict(tags)).items()}
        run = self.client.create_run(self.experiment_id, tags=text, run_name=name)
        return str(run.info.run_id)


def find_experiment(client: Any, folder: StudyFolder) -> Any:
    """The experiment of a study, even if a person renamed or deleted it; None if there is none."""
    name = folder.path.name
    tagged = client.search_experiments(ViewType.ALL, filter_string=f"tags.`{STUDY_TAG}` = '{name}'")
    if tagged:
        return tagged[0]
    found = client.get_experiment_by_name(name)
    if found:
        return found if found.tags.get(STUDY_TAG) in (None, "", name) else None
    for path in folder.trials().values():  # an earlier release's, which has no tag
        record = TrialRecord.load(path)
        if record and record.run_id:
            with suppress(MlflowException):  # the run is in another MLflow
                return client.get_experiment(client.get_run(record.run_id).info.experiment_id)
    return None


class ShownTrial(NamedTuple):
    """What MLflow shows of a trial."""

    status: str
    """The status of its run; `DELETED` if a person deleted it in the UI."""
    ended_ms: int = 0
    """When it ended, in milliseconds since 1970; 0 if it has not."""


def shown_trials(client: Any, experiment_id: str) -> dict[int, ShownTrial]:
    """Trial number → what MLflow shows of it."""
    shown: dict[int, ShownTrial] = {}
    token: str | None = None
    while True:
        page = client.search_runs(
            [experiment_id], "tags.kind = 'trial'", ViewType.ALL, 1000, page_token=token
        )
        for run in page:
            number = int(run.data.tags["optuna.trial_number"])
            if run.info.lifecycle_stage == "active":
                shown[number] = ShownTrial(run.info.status, run.info.end_time or 0)
            else:
                shown.setdefault(number, ShownTrial("DELETED"))
        token = page.token
        if not token:
            return shown


def trials_shown_of(store: Store, name: str) -> dict[int, ShownTrial]:
    """`shown_trials` of a study by its name; empty if MLflow has no such experiment.

    Raises `StudyError` if MLflow cannot be read.
    """
    with required("ask", store):
        client = open_client(store)
        found = find_experiment(client, store.study(name))
        return shown_trials(client, found.experiment_id) if found else {}


def has_views(store: Store, experiment_id: str) -> bool:
    """Whether an experiment has our views; false if MLflow cannot be asked."""
    try:
        return FIRST_VIEW in open_client(store).get_experiment(experiment_id).tags
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError):
        return False


def log_to_study(store: Store, name: str, file: Path) -> None:
    """Add a file to the artifacts of a study's run; nothing is done if MLflow has no such run."""
    if not store.tracking and not store.mlflow_database.is_file():  # opening it would create it
        return
    client = open_client(store)
    found = find_experiment(client, store.study(name))
    if found is None or found.lifecycle_stage == "deleted":
        return
    for run in client.search_runs([found.experiment_id], "tags.kind = 'study'", max_results=1):
        client.log_artifact(run.info.run_id, str(file))


def experiments_of(store: Store) -> dict[str, tuple[str, bool]]:
    """Name → id of each experiment in the store's MLflow database, and whether it has our views.

    They are sorted by name.

    Raises `UnknownStudyError` without such a database, and `StudyError` if it cannot be read.
    """
    if not store.mlflow_database.is_file():  # opening it would create it
        raise UnknownStudyError(
            f"there is nothing to show in {store.root} yet; start a study with 'study run', or "
            "name another results folder with --store"
        )
    with required("open", store):
        experiments = open_client(store).search_experiments(order_by=["name ASC"])
    return {
        item.name: (item.experiment_id, FIRST_VIEW in item.tags)
        for item in experiments
        if item.name != "Default"
    }


def forget_experiment(store: Store, name: str) -> None:
    """Delete a study's experiment, and free its name for another one.

    MLflow only marks experiments deleted (`mlflow gc` removes what is marked). Raises `StudyError`
    if its database cannot be changed.
    """
    with required(f"delete the experiment '{name}' in", store, "; nothing else was deleted"):
        client = open_client(store)
        found = find_experiment(client, store.study(name))
        if found is None:
            return
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        client.rename_experiment(found.experiment_id, f"{name} (deleted {uuid4().hex[:8]})")
        client.set_experiment_tag(found.experiment_id, STUDY_TAG, "")  # last: it finds the rest
        client.delete_experiment(found.experiment_id)
