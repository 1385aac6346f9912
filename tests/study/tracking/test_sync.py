"""`study sync`: an MLflow experiment made again, or made elsewhere, from a study's folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from dcgan.config.settings import save_config
from study.config.study_config import StudyConfig
from study.running.claims import Claims
from study.storage.locks import hold
from study.storage.optuna_db import load_optuna_study, remove_study
from study.storage.store import Store
from study.storage.trial_record import TrialRecord
from study.tracking.experiment import Tracker

Shell = Callable[..., Any]


def essence(mirror: Any) -> dict[int, Any]:
    """What an experiment shows of every trial, whatever the ids of its runs."""
    shown = {}
    for run in mirror.runs("trial"):
        tags = {k: v for k, v in run.data.tags.items() if not k.startswith("mlflow.")}
        points = sorted(
            (point.key, point.step, point.timestamp, point.value)
            for key in run.data.metrics
            for point in mirror.history(run, key)
        )
        artifacts = mirror.artifacts(run) | mirror.artifacts(run, "images")
        pictures = sum("fixed_noise" in path for path in artifacts)
        plain = {path for path in artifacts if "images" not in path}
        facts = (run.info.status, run.info.run_name, run.data.params, tags)
        shown[int(tags["optuna.trial_number"])] = (*facts, points, plain, pictures)
    return shown


@pytest.fixture
def without_mlflow(own_finished: Store, tmp_path: Path) -> Store:
    """The finished study after MLflow's database and artifacts were lost (in a new place, because
    this process keeps its connection to the old file)."""
    store = Store.at(tmp_path / "restored")
    ignored = shutil.ignore_patterns("mlflow.db*", "artifacts")
    shutil.copytree(own_finished.root, store.root, ignore=ignored)
    return store


@pytest.mark.slow
def test_a_lost_database_is_made_again(
    own_finished: Store, without_mlflow: Store, mirror_of: Any, shell: Shell
) -> None:
    before = essence(mirror_of(own_finished))
    assert len(before) == 6
    said = shell("sync", "tiny", "--store", without_mlflow.root).stdout
    assert "6 of 6 trials delivered, 0 were there" in said
    mirror = mirror_of(without_mlflow)
    assert essence(mirror) == before
    (parent,) = mirror.runs("study")
    assert parent.info.status == "FINISHED"
    assert {"leaderboard.md", "contact_sheet.png", "best.yaml"} <= mirror.artifacts(parent)
    assert parent.data.tags["mlflow.note.content"].startswith("# tiny")
    # Again: nothing is there twice.
    said = shell("sync", "tiny", "--store", without_mlflow.root).stdout
    assert "0 of 6 trials delivered, 6 were there" in said
    assert essence(mirror_of(without_mlflow)) == before
    assert len(mirror_of(without_mlflow).all_runs()) == 7


@pytest.mark.slow
def test_a_full_run_that_is_being_trained_is_left_to_its_process(
    own_finished: Store, mirror_of: Any, shell: Shell
) -> None:
    shell("train", "tiny", "--store", own_finished.root)
    (run,) = mirror_of(own_finished).runs("full")
    mirror_of(own_finished).client.update_run(run.info.run_id, status="RUNNING")
    (folder,) = (own_finished.study("tiny").path / "full_runs").iterdir()
    for held, status in ((True, "RUNNING"), (False, "FINISHED")):
        with hold(folder, "the full run") if held else nullcontext():
            shell("sync", "tiny", "--store", own_finished.root)
        (run,) = mirror_of(own_finished).runs("full")
        assert run.info.status == status


@pytest.mark.slow
def test_a_study_moves_to_a_server(
    own_finished: Store, mirror_of: Any, shell: Shell, tracking: Any
) -> None:
    before = essence(mirror_of(own_finished))
    options = ("--store", own_finished.root, "--tracking-uri", tracking.uri)
    assert f"{tracking.uri}/#/experiments/" in shell("sync", "tiny", *options).stdout
    there = mirror_of(Store(own_finished.root, tracking=tracking.uri))
    assert essence(there) == before
    assert essence(mirror_of(own_finished)) == before
    run = there.runs("trial")[0]
    downloaded = there.client.download_artifacts(run.info.run_id, "config.yaml")
    kept = own_finished.study("tiny").trial(0) / "config.yaml"
    assert Path(downloaded).read_text() == kept.read_text()


@pytest.mark.slow
def test_a_study_moves_to_another_folder(
    own_finished: Store, mirror_of: Any, shell: Shell, tmp_path: Path
) -> None:
    before = essence(mirror_of(own_finished))
    elsewhere = Store.at(tmp_path / "elsewhere")
    shell("sync", "tiny", "--store", own_finished.root, "--tracking-uri", elsewhere.mlflow_uri)
    assert essence(mirror_of(elsewhere)) == before
    run = mirror_of(elsewhere).runs("trial")[0]
    assert run.info.artifact_uri.startswith(elsewhere.artifacts.as_uri())


def test_what_a_person_deleted_stays_deleted(
    own_finished: Store, mirror_of: Any, shell: Shell
) -> None:
    client = MlflowClient(tracking_uri=own_finished.mlflow_uri)
    client.delete_run(mirror_of(own_finished).runs("trial")[2].info.run_id)
    shell("sync", "tiny", "--store", own_finished.root)
    assert sorted(essence(mirror_of(own_finished))) == [0, 1, 3, 4, 5]


def test_what_is_shown_as_it_is_not_is_delivered_again(
    own_finished: Store, mirror_of: Any, shell: Shell
) -> None:
    """Runs that were cut off, and one that ended otherwise than its trial."""
    client, before = mirror_of(own_finished).client, essence(mirror_of(own_finished))
    runs = mirror_of(own_finished).runs("trial")
    client.update_run(runs[1].info.run_id, status="RUNNING")
    client.update_run(runs[2].info.run_id, status="SCHEDULED")
    client.set_terminated(runs[0].info.run_id, status="FAILED")
    assert essence(mirror_of(own_finished)) != before
    said = shell("sync", "tiny", "--store", own_finished.root).stdout
    assert "3 of 6 trials delivered, 3 were there" in said
    assert essence(mirror_of(own_finished)) == before


@pytest.mark.slow
def test_a_trial_that_somebody_runs_is_left_to_them(
    own_finished: Store, without_mlflow: Store, mirror_of: Any, shell: Shell
) -> None:
    folder = without_mlflow.study("tiny")
    claims = Claims(load_optuna_study(without_mlflow, "tiny"), folder)
    with claims.next(total=7) as claim:
        assert claim
        shutil.copytree(folder.trial(0), folder.trial(6))
        record = TrialRecord.load(folder.trial(6))
        assert record
        replace(record, number=6, state="RUNNING").save(folder.trial(6))
        said = shell("sync", "tiny", "--store", without_mlflow.root).stdout
        assert "6 of 7 trials delivered, 0 were there, 1 being run now" in said
        assert sorted(essence(mirror_of(without_mlflow))) == [0, 1, 2, 3, 4, 5]
    # Its process is gone: it is shown as far as it came.
    said = shell("sync", "tiny", "--store", without_mlflow.root).stdout
    assert "1 of 7 trials delivered, 6 were there" in said
    shown = essence(mirror_of(without_mlflow))[6]
    assert shown[0] == "RUNNING"
    assert shown[4] == [p for p in essence(mirror_of(own_finished))[0][4] if "/" in p[0]]


@pytest.mark.slow
def test_it_needs_neither_database(
    own_finished: Store, without_mlflow: Store, mirror_of: Any, shell: Shell
) -> None:
    without_mlflow.optuna_database.unlink()
    shell("sync", "tiny", "--store", without_mlflow.root)
    assert essence(mirror_of(without_mlflow)) == essence(mirror_of(own_finished))


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("other",), 2, "there are no files of a study 'other'"),
        (("tiny", "--tracking-uri", "ftp://host"), 2, "is not the address of an MLflow server"),
        (("tiny", "--tracking-uri", "sqlite:///x.db"), 2, "is not the address of an MLflow server"),
        (("tiny", "--tracking-uri", "http://127.0.0.1:1"), 1, "it does not answer"),
    ],
)
def test_what_cannot_be_delivered_to(
    finished: Any, shell: Shell, arguments: Any, code: int, expected: str
) -> None:
    said = shell("sync", *arguments, "--store", finished.store.root, code=code).stderr
    (line,) = said.strip().splitlines()
    assert expected in line


@pytest.mark.slow
def test_optunas_database_may_have_lost_the_study(
    own_finished: Store, mirror_of: Any, shell: Shell
) -> None:
    remove_study(load_optuna_study(own_finished, "tiny"))
    said = shell("sync", "tiny", "--store", own_finished.root).stdout
    assert "0 of 6 trials delivered, 6 were there" in said


@pytest.mark.slow
def test_a_damaged_optuna_database_hides_where_the_study_logs(
    own_finished: Store, shell: Shell
) -> None:
    """It could be a server, so nothing is delivered to the folder's own MLflow."""
    own_finished.optuna_database.write_bytes(b"no database")
    said = shell("sync", "tiny", "--store", own_finished.root, code=1).stderr
    assert "cannot open the study database" in said


def test_trials_that_begin_at_once_all_show_their_photos(
    tiny_study: Callable[..., StudyConfig], store: Store
) -> None:
    config = tiny_study()
    folder = store.study("tiny")
    folder.path.mkdir(parents=True)
    save_config(config, folder.config)
    opened = Tracker(store, folder, config, {})
    runs = opened.experiment_id, opened.parent_run_id
    photos = [f"{number:036d}" for number in range(10)]  # each is new to MLflow
    together = Barrier(4)

    def begin(worker: int) -> list[str]:
        tracker = Tracker(store, folder, config, {}, runs=runs)
        shown = []
        for turn, fingerprint in enumerate(photos):
            record = TrialRecord(10 * worker + turn, {"nz": 3}, "sampler", None, 7)
            record.identity["data.fingerprint"] = fingerprint
            mirror = tracker.mirror_of(record)
            together.wait(60)
            run = tracker.client.get_run(mirror.open())
            shown += [one.dataset.digest for one in run.inputs.dataset_inputs]
        return shown

    with ThreadPoolExecutor(4) as workers:
        assert list(workers.map(begin, range(4))) == [photos] * 4
