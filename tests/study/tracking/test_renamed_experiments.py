"""What people do to experiments in the MLflow UI, and what a study makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from study.storage.store import Store
from study.tracking.experiment import STUDY_TAG


@pytest.fixture
def renamed(own_finished: Store) -> Store:
    client = MlflowClient(tracking_uri=own_finished.mlflow_uri)
    experiment = client.get_experiment_by_name("tiny")
    client.rename_experiment(experiment.experiment_id, "Our best cats")
    return own_finished


@pytest.mark.slow
@pytest.mark.parametrize("by", ["tag", "run"])
def test_a_renamed_experiment_is_continued(
    by: str, renamed: Store, shell: Any, study_file: Any, mirror_of: Any
) -> None:
    if by == "run":  # of a release that set no tag
        client = MlflowClient(tracking_uri=renamed.mlflow_uri)
        experiment = client.get_experiment_by_name("Our best cats")
        client.set_experiment_tag(experiment.experiment_id, STUDY_TAG, "")
    shell("run", study_file(study__trials=7), "--store", renamed.root)
    shown = mirror_of(renamed, "Our best cats")
    assert len(shown.runs("trial")) == 7
    assert shown.client.get_experiment_by_name("tiny") is None
    assert "fault" not in shell("doctor", "--store", renamed.root).stdout
    said = shell("sync", "tiny", "--store", renamed.root).stdout
    assert "0 of 7 trials delivered, 7 were there" in said


@pytest.mark.slow
def test_artifacts_of_a_renamed_experiment_move_with_the_folder(
    renamed: Store, shell: Any, mirror_of: Any, tmp_path: Path
) -> None:
    before = [mirror_of(renamed, "Our best cats").artifacts(run) for run in runs(renamed)]
    assert all(before)
    moved = Store.at(renamed.root.rename(tmp_path / "moved"))
    assert "study relocate" in shell("doctor", "--store", moved.root, code=1).stdout
    shell("relocate", "--store", moved.root)
    assert [mirror_of(moved, "Our best cats").artifacts(run) for run in runs(moved)] == before
    assert "fault" not in shell("doctor", "--store", moved.root).stdout


def runs(store: Store) -> list[Any]:
    client = MlflowClient(tracking_uri=store.mlflow_uri)
    found = client.get_experiment_by_name("Our best cats")
    return list(client.search_runs([found.experiment_id], order_by=["attributes.run_id"]))


@pytest.mark.slow
def test_a_deleted_study_frees_its_experiment(
    renamed: Store, shell: Any, study_file: Any, mirror_of: Any
) -> None:
    shell("delete", "tiny", "--yes", "--store", renamed.root)
    shell("run", study_file(study__trials=1), "--store", renamed.root)
    assert len(mirror_of(renamed).runs("trial")) == 1
