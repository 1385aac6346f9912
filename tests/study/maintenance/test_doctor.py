"""`study doctor`: every fault has its line, and looking changes nothing."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

import study.storage.file_systems
from dcgan.cli.doctor import print_health
from dcgan.config.settings import override
from study.maintenance.doctor import store_checks
from study.storage.attributes import (
    CONFIG_ATTRIBUTE,
    IDENTITY_ATTRIBUTE,
    stored_identity,
    study_config,
)
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store

Shell = Callable[..., subprocess.CompletedProcess[str]]
Report = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Report:
    """Examine a store: the exit code, and the lines that are not ok."""

    def run(store: Store, name: str | None = None) -> tuple[int, list[str]]:
        capsys.readouterr()
        code = print_health(store_checks(store, name))
        lines = capsys.readouterr().out.splitlines()
        assert {line.split()[0] for line in lines} <= {"ok", "warning", "fault"}
        return code, [line for line in lines if not line.startswith("ok ")]

    return run


def everything(folder: Path) -> Mapping[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def without_disk_space(report: str) -> str:
    """The disk is not the test's alone: its free space changes between two commands."""
    return re.sub(r"[\d.]+ GB free", "GB free", report)


def execute(store: Store, statement: str) -> None:
    with closing(sqlite3.connect(store.mlflow_database)) as connection, connection:
        connection.execute(statement)


def test_a_healthy_store(shell: Shell, own_finished: Store, tmp_path: Path) -> None:
    before = everything(tmp_path)
    out = shell("doctor", "--store", own_finished.root).stdout
    assert everything(tmp_path) == before
    assert [line for line in out.splitlines() if not line.startswith("ok ")] == []
    for word in ("optuna", "mlflow", "torch", "device", "GB free", "6 of 6 trials", "toy cats"):
        assert word in out, word
    again = shell("doctor", "tiny", "--store", own_finished.root).stdout
    assert without_disk_space(again) == without_disk_space(out)


def test_a_place_without_results(report: Report, tmp_path: Path) -> None:
    code, lines = report(Store.at(tmp_path / "none"))
    assert code == 0
    assert len(lines) == 3
    assert f"no results folder {tmp_path / 'none'} yet" in lines[0]
    assert not (tmp_path / "none").exists()


def test_a_place_that_cannot_be_one(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    code, lines = report(Store.at(tmp_path / "file"))
    assert code == 1
    assert lines[0].startswith("fault")
    assert "is not a folder" in lines[0]
    mounts = tmp_path / "mounts"
    mounts.write_text(f"server:/export {tmp_path} nfs4 rw 0 0\n")
    monkeypatch.setattr(study.storage.file_systems, "MOUNTS", mounts)
    code, lines = report(Store.at(tmp_path / "none"))
    assert code == 1
    assert "network file system (nfs4)" in lines[0]


def test_databases_of_another_version(report: Report, own_finished: Store) -> None:
    execute(own_finished, "UPDATE alembic_version SET version_num = 'newer'")
    code, lines = report(own_finished)
    assert code == 1
    assert lines[0].startswith("fault")
    assert "mlflow.db are of version newer" in lines[0]
    own_finished.optuna_database.write_text("damaged " * 100)
    code, lines = report(own_finished, "tiny")
    assert code == 1
    assert "optuna.db: file is not a database; restore it from a backup" in lines[0]


def test_moved_artifacts(report: Report, own_finished: Store, tmp_path: Path) -> None:
    moved = Store.at(own_finished.root.rename(tmp_path / "moved"))
    code, lines = report(moved)
    assert code == 1
    assert len(lines) == 1
    assert "study relocate --store" in lines[0]


def test_a_trial_without_a_process(report: Report, own_finished: Store) -> None:
    trial = load_optuna_study(own_finished, "tiny").ask()
    locks = own_finished.study("tiny").locks
    code, lines = report(own_finished)
    assert code == 0
    assert len(lines) == 1
    assert lines[0].startswith("warning")
    assert "trial-006 lost the process that ran it; the same 'study run' continues" in lines[0]
    assert not (locks / "trial-006.lock").exists()
    with FileLock(locks / f"trial-{trial.number:03d}.lock"):
        assert report(own_finished) == (0, [])
    assert len(report(own_finished)[1]) == 1


def test_trials_that_mlflow_shows_otherwise(report: Report, own_finished: Store) -> None:
    number = "SELECT run_uuid FROM tags WHERE key = 'optuna.trial_number' AND value = '{}'"
    execute(
        own_finished, f"UPDATE runs SET status = 'RUNNING' WHERE run_uuid IN ({number})".format(1)
    )
    execute(own_finished, f"DELETE FROM tags WHERE run_uuid IN ({number})".format(3))
    deleted = f"UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid IN ({number})"
    execute(own_finished, deleted.format(0))  # by a person, who may
    code, lines = report(own_finished)
    assert code == 0
    assert len(lines) == 1
    assert "trial-001, trial-003 of 'tiny' in another state than Optuna" in lines[0]
    with FileLock(own_finished.study("tiny").locks / "trial-001.lock"):  # its process shows it
        assert "MLflow shows trial-003 of 'tiny' in another" in report(own_finished)[1][0]


def test_photos_that_have_changed_or_gone(
    report: Report, own_finished: Store, tmp_path: Path
) -> None:
    made = load_optuna_study(own_finished, "tiny")
    config, identity = study_config(made), stored_identity(made)
    made.set_user_attr(IDENTITY_ATTRIBUTE, json.dumps({**identity, "data.fingerprint": "others"}))
    code, lines = report(own_finished)
    assert code == 1
    assert len(lines) == 1
    assert "photos of 'tiny': those in the built-in toy cats have changed" in lines[0]
    gone = {"base.data.source": "folder", "base.data.root": str(tmp_path / "gone")}
    made.set_user_attr(CONFIG_ATTRIBUTE, override(config, gone, "test").model_dump_json())
    code, lines = report(own_finished)
    assert code == 1
    assert str(tmp_path / "gone") in lines[0]
    assert "--data DIR" in lines[0]


def test_another_extractor(report: Report, own_finished: Store) -> None:
    made = load_optuna_study(own_finished, "tiny")
    config, identity = study_config(made), stored_identity(made)
    made.set_user_attr(
        IDENTITY_ATTRIBUTE, json.dumps({**identity, "extractor.fingerprint": "other" * 9})
    )
    code, lines = report(own_finished)
    assert code == 1
    assert len(lines) == 1
    assert "is scored by random otherotherot, but this machine has random" in lines[0]
    inception = override(config, {"base.eval.extractor": "inception"}, "test")
    made.set_user_attr(CONFIG_ATTRIBUTE, inception.model_dump_json())
    code, lines = report(own_finished)
    assert code == 0
    assert "Inception, whose weights are not here" in lines[0]


def test_a_study_that_never_began(report: Report, store: Store) -> None:
    import optuna

    optuna.create_study(study_name="begun", storage=store.optuna_url)
    code, lines = report(store)
    assert code == 0
    assert "'begun' was cut off before its first trial" in lines[0]


def test_databases_that_may_not_be_written(
    report: Report, own_finished: Store, unprivileged: Any
) -> None:
    for path in own_finished.root.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    with unprivileged(own_finished.root):
        code, lines = report(own_finished)
    assert code == 1
    faults = [line for line in lines if line.startswith("fault")]
    assert len(faults) == 2
    assert f"{own_finished.optuna_database} (Optuna's database) cannot be written to" in faults[0]
    assert f"{own_finished.mlflow_database} (MLflow's database) cannot be written to" in faults[1]
