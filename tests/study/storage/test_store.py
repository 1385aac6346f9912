"""Where results may live, and how they go away again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from typer.testing import CliRunner

from study.cli.app import app
from study.errors import StudyBusyError, UnknownStudyError
from study.maintenance.delete import delete_study
from study.running.claims import Claims
from study.running.study import run_study
from study.storage.locks import announced, hold
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store, make_database


@pytest.mark.slow
def test_deleting_a_study_leaves_nothing_and_frees_its_name(
    tiny_study: Callable[..., Any], store: Store, bank: Any, shell: Any
) -> None:
    for name in ("tiny", "other"):
        run_study(tiny_study(study__name=name, study__trials=1), store, bank=bank)
    done = shell("delete", "tiny", "--store", store.root, "--yes")
    assert "deleted the study 'tiny'" in done.stdout
    assert not store.study("tiny").path.exists()
    assert not (store.artifacts / "tiny").exists()
    with pytest.raises(UnknownStudyError, match="there are: other"):
        load_optuna_study(store, "tiny")
    client = MlflowClient(tracking_uri=store.mlflow_uri)
    assert {item.name for item in client.search_experiments()} - {"Default"} == {"other"}
    assert load_optuna_study(store, "other").trials
    assert store.study("other").trial(0).is_dir()
    # The name can be used again, without the old runs.
    again = run_study(tiny_study(study__trials=1), store, bank=bank)
    assert again.finished == 1
    runs = client.search_runs([again.experiment_id], "tags.kind = 'trial'")
    assert len(runs) == 1
    shell("delete", "absent", "--store", store.root, "--yes", code=2)


def test_deleting_asks_first(tiny_study: Callable[..., Any], store: Store, bank: Any) -> None:
    run_study(tiny_study(study__trials=1), store, bank=bank)
    command = ["delete", "tiny", "--store", str(store.root)]
    said = CliRunner().invoke(app, command, input="n\n").stdout
    assert "delete the study 'tiny': 2 trials (1 finished), " in said
    assert said.endswith("nothing was deleted\n")
    assert len(load_optuna_study(store, "tiny").trials) == 2  # one is a baseline that waits
    assert "deleted the study 'tiny'" in CliRunner().invoke(app, command, input="y\n").stdout
    assert not store.study("tiny").path.exists()


def test_a_study_that_is_in_use_is_not_deleted(own_finished: Store) -> None:
    folder, made = own_finished.study("tiny"), load_optuna_study(own_finished, "tiny")

    def refused(match: str) -> None:
        with pytest.raises(StudyBusyError, match=match):
            delete_study(own_finished, "tiny", lambda question: True)

    with Claims(made, folder).next(total=7):  # a worker whose launcher is gone
        refused(r"tiny is being run by another process \(trial-006\); wait for it")
    with hold(folder.full_run(0), "the full run"):
        refused(r"another process \(full run of trial-000\)")
    with announced(folder), announced(folder) as others:
        assert others == []  # this process itself
    assert delete_study(own_finished, "tiny", lambda question: True)


def test_a_database_is_made_wholly_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "some.db"

    def cut_off(url: str) -> None:
        Path(url.removeprefix("sqlite:///")).write_text("half of the tables")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_database(path, cut_off)
    assert not path.exists()
    make_database(path, lambda url: Path(url.removeprefix("sqlite:///")).write_text("all"))
    make_database(path, cut_off)  # there already
    assert path.read_text() == "all"
    assert not list(tmp_path.glob("*.new"))
