"""A results folder that was moved: who notices, and what mends it."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

import study.tracking.relocate as relocation
from study.errors import StudyBusyError, StudyError
from study.running.claims import Claims
from study.running.study import run_study
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store
from study.tracking.relocate import (
    TABLES,
    describe_misplaced,
    misplaced,
    opened,
    places_of,
    relocate,
)

Shell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def moved(finished: Any, tmp_path: Path) -> Store:
    """The finished study's results folder, moved to a place whose name has a space."""
    old = tmp_path / "old"
    shutil.copytree(finished.store.root, old)
    relocate(Store.at(old))
    new = tmp_path / "new place"
    old.rename(new)
    return Store.at(new)


def recorded(store: Store) -> list[str]:
    """Every artifact location in the database."""
    with opened(store) as connection:
        return [
            uri
            for table in TABLES
            for (uri,) in connection.execute(f"SELECT {table.uri} FROM {table.name}")
        ]


@pytest.mark.slow
def test_moved_artifacts_are_found_again(
    moved: Store, finished: Any, shell: Shell, tmp_path: Path, bank: Any, mirror_of: Any
) -> None:
    said = describe_misplaced(moved)
    assert said is not None
    assert f"recorded under {tmp_path / 'old' / 'artifacts'}" in said
    assert f"study relocate --store '{moved.root}'" in said
    out = shell("relocate", "--store", moved.root).stdout
    runs = len(finished.trials) + 1
    assert f"relocated 1 experiment, {runs} runs: from {tmp_path / 'old' / 'artifacts'} to " in out
    assert describe_misplaced(moved) is None
    mirror = mirror_of(moved)
    for run in mirror.runs("trial"):
        assert "config.yaml" in mirror.artifacts(run)
    run = mirror.runs("study")[0]
    local = Path(mirror.client.download_artifacts(run.info.run_id, "leaderboard.md", str(tmp_path)))
    assert local.read_text() == moved.study("tiny").leaderboard.read_text()
    config = finished.config.model_copy(
        update={"study": finished.config.study.model_copy(update={"trials": 7})}
    )
    assert run_study(config, moved, bank=bank).finished == 7
    newest = mirror_of(moved).runs("trial")[-1]
    assert newest.info.artifact_uri.startswith(moved.artifacts.as_uri())
    assert "config.yaml" in mirror.artifacts(newest)
    assert not (tmp_path / "old").exists()  # nothing was written where the folder used to be
    before = moved.mlflow_database.read_bytes()
    assert "nothing to do" in shell("relocate", "--store", moved.root).stdout
    assert moved.mlflow_database.read_bytes() == before


def test_a_launch_in_a_moved_folder_says_so(moved: Store, shell: Shell) -> None:
    """The total is reached: nothing else is to be done."""
    config = moved.study("tiny").config
    out = shell("run", config, "--store", moved.root).stdout
    assert "warning: MLflow's artifacts are recorded under " in out
    relocate(moved)
    assert "warning" not in shell("run", config, "--store", moved.root).stdout


@pytest.mark.parametrize(
    ("uri", "place", "right"),
    [
        ("file:///old/artifacts/tiny", "/old/artifacts", "{new}"),
        ("/old/artifacts/tiny/0123/artifacts", "/old/artifacts", "{new}/0123/artifacts"),
        (
            "file:///a%20b/artifacts/tiny/x/artifacts/tiny/1/artifacts",
            "/a b/artifacts/tiny/x/artifacts",
            "{new}/1/artifacts",
        ),
        ("{new}", None, None),
        ("s3://bucket/artifacts/tiny", None, None),
        ("file:///old/artifacts/tiny2", None, None),
        ("file:///old/elsewhere/tiny", None, None),
        ("mlflow-artifacts:/artifacts/tiny", None, None),
    ],
)
def test_only_a_stores_own_kind_of_place_is_changed(
    tmp_path: Path, uri: str, place: str | None, right: str | None
) -> None:
    store = Store.at(tmp_path)
    (store.artifacts / "tiny").mkdir(parents=True)
    new = (store.artifacts / "tiny").as_uri()
    expected = None if right is None else (place, right.format(new=new))
    assert places_of(store, uri.format(new=new)) == expected


def test_artifacts_that_were_left_behind_stay_recorded_there(moved: Store) -> None:
    """Only the databases were moved: the old place is right."""
    shutil.rmtree(moved.artifacts / "tiny")
    before = recorded(moved)
    relocate(moved)
    assert recorded(moved) == before


def test_logged_models_and_other_experiments(moved: Store, finished: Any) -> None:
    """A model that a person logged beside a trial moves along; another experiment does not."""
    client = MlflowClient(tracking_uri=moved.mlflow_uri)
    client.create_experiment("mine", artifact_location="file:///somewhere/else")
    model = client.create_logged_model(finished.summary.experiment_id, name="generator")
    assert "/old/artifacts/tiny/models/" in model.artifact_location
    relocate(moved)
    location = client.get_logged_model(model.model_id).artifact_location
    assert location == f"{moved.artifacts.as_uri()}/tiny/models/{model.model_id}/artifacts"
    mine = client.get_experiment_by_name("mine")
    assert mine is not None
    assert mine.artifact_location == "file:///somewhere/else"


def misplaced_rows(store: Store) -> int:
    with opened(store) as connection:
        return len(misplaced(store, connection))


def test_a_running_study_is_left_alone(
    moved: Store, study_file: Callable[..., Path], study_process: Callable[..., Any], shell: Shell
) -> None:
    """Any study of the folder: a launch of another one than the moved artifacts belong to."""
    settings = {"study__name": "long", "base__train__epochs": 100_000}
    launcher = study_process("run", study_file(**settings), "--store", moved.root)
    try:
        history = moved.study("long").trial(0) / "history.jsonl"
        deadline = time.monotonic() + 120
        while not history.exists() and time.monotonic() < deadline:
            assert launcher.poll() is None
            time.sleep(0.1)
        before = misplaced_rows(moved)
        assert before > 0
        said = shell("relocate", "--store", moved.root, code=2).stderr
        assert f"the study in {moved.study('long').path} is being run by another process" in said
        assert f"(pid {launcher.program})" in said
        assert misplaced_rows(moved) == before
    finally:
        launcher.terminate()
        assert launcher.wait(60) == 130
    assert "relocated" in shell("relocate", "--store", moved.root).stdout
    assert misplaced_rows(moved) == 0


def test_a_trial_whose_launcher_is_gone_is_left_alone(moved: Store) -> None:
    """A worker saves a checkpoint first."""
    claims = Claims(load_optuna_study(moved, "tiny"), moved.study("tiny"))
    with claims.next(total=7), pytest.raises(StudyBusyError, match=r"\(trial-006\)"):
        relocate(moved)
    relocate(moved)
    assert misplaced_rows(moved) == 0


def test_a_busy_database_is_left_alone(moved: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    before = recorded(moved)
    monkeypatch.setattr(relocation, "WAIT_SECONDS", 0.1)
    other = sqlite3.connect(moved.mlflow_database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StudyBusyError, match=r"writing to .*mlflow.db; end the 'study run'"):
        relocate(moved)
    other.execute("ROLLBACK")
    other.close()
    assert recorded(moved) == before
    relocate(moved)
    assert recorded(moved) != before


def test_an_error_on_the_way_changes_nothing(moved: Store) -> None:
    """One transaction: a row that cannot be changed takes the others back."""
    change = sqlite3.connect(moved.mlflow_database)
    change.execute(
        "CREATE TRIGGER no BEFORE UPDATE ON runs BEGIN SELECT RAISE(ABORT, 'not this one'); END"
    )
    change.commit()
    before = recorded(moved)
    with pytest.raises(StudyError, match="not this one"):
        relocate(moved)
    assert recorded(moved) == before
    change.execute("DROP TRIGGER no")
    change.commit()
    change.close()
    relocate(moved)
    assert describe_misplaced(moved) is None


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    store.mlflow_database.write_text("not a database, and longer than its header of bytes" * 3)
    with pytest.raises(StudyError, match=r"cannot use the MLflow database .* not a database"):
        relocate(store)


def test_a_database_that_may_not_be_written(moved: Store, unprivileged: Any) -> None:
    before = recorded(moved)
    for path in moved.root.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    with unprivileged(moved.root):
        with pytest.raises(StudyError, match=r"mlflow.db cannot be written to; change its perm"):
            relocate(moved)
        with (
            pytest.raises(StudyError, match="readonly database"),
            opened(moved, write=True) as connection,
        ):
            connection.execute("UPDATE runs SET artifact_uri = 'elsewhere'")
        assert describe_misplaced(moved) is not None  # looking needs no permission
    assert recorded(moved) == before
