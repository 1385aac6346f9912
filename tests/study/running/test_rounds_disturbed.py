"""`study confirm` and `study ask` that are killed, and on a server: real processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ready import Process
from shared import PATIENCE_SECONDS, options, wait_for
from sqlalchemy import create_engine, text

from benchmarks.lib.servers import Postgres, children, postgres_programs
from study.results.asked import Asked
from study.results.confirmed import Confirmation
from study.running.ask import Question, next_pairs
from study.running.confirm import Race, next_round
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store
from study.tracking.relocate import relocate

Shell = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., Process]
CONFIRM = ["confirm", "tiny", "--top", "1", "--seeds", "2", "--epochs", "8", "--workers", "2"]
ASK = ["ask", "tiny", "blur", "--pairs", "2", "--epochs", "8", "--workers", "2"]


def found(store: Store, name: str) -> Any:
    """What the trainings have scored."""
    study = load_optuna_study(store, "tiny")
    if name == "tiny.confirm":
        confirmation = Confirmation.read(study)
        assert confirmation is not None
        return [(it.name, it.scores) for it in confirmation.candidates]
    asked = Asked.read(study, "augment.blur_sigma")
    assert asked is not None
    return asked.pairs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "name"), [(CONFIRM, "tiny.confirm"), (ASK, "tiny.ask.blur_sigma")]
)
def test_everything_killed_at_once_loses_nothing(
    own_finished: Store,
    shell: Shell,
    study_process: Start,
    tmp_path: Path,
    mirror_of: Any,
    command: list[str],
    name: str,
) -> None:
    quiet = Store.at(tmp_path / "quiet")
    shutil.copytree(own_finished.root, quiet.root)
    relocate(quiet)
    shell(*command, "--store", quiet.root)
    process = study_process(*command, "--store", own_finished.root)
    histories = own_finished.study(name).path
    wait_for(
        lambda: (
            process.poll() is not None
            or any(
                '"kind": "eval"' in it.read_text()
                for it in histories.glob("trials/*/history.jsonl")
            )
        )
    )
    assert process.poll() is None, (tmp_path / "stderr.txt").read_text()
    for pid in [*children(process.program), process.program]:
        os.kill(pid, signal.SIGKILL)
    process.wait(PATIENCE_SECONDS)
    said = shell(*command, "--store", own_finished.root)
    assert "was cut off earlier and continues" in said.stdout + said.stderr
    assert found(own_finished, name) == found(quiet, name)
    for run in mirror_of(own_finished, name).runs("trial"):
        assert run.info.status == "FINISHED"
        points = mirror_of(own_finished, name).points(run)
        assert len(points) == len(set(points))


@pytest.mark.slow
@pytest.mark.skipif(postgres_programs() is None, reason="PostgreSQL is not installed")
def test_a_race_on_a_server_is_the_same_and_leaves_few_connections(
    own_finished: Store,
    shell: Shell,
    study_file: Callable[..., Path],
    machines: tuple[Store, Store],
    database: Postgres,
) -> None:
    first, _ = machines
    asked = ["confirm", "tiny", "--top", "1", "--seeds", "2", "--epochs", "2"]
    shell("run", study_file(study__trials=6), *options(first))
    shell(*asked, *options(first))
    shell(*asked, "--store", own_finished.root)
    assert found(first, "tiny.confirm") == found(own_finished, "tiny.confirm")
    for _ in range(20):
        next_round(first, Race("tiny", top=1, seeds=2, epochs=2))
        question = Question.parse(first, "tiny", "blur", 2, 2)
        next_pairs(first, question)
    engine = create_engine(database.url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dcgan-study'"
        assert connection.scalar(text(query)) == 0
    engine.dispose()
