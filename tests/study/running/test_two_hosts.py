"""Two hosts that share a study, each with a network of its own: a cut cable, a host that sleeps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hosts
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState
from shared import ONE_STEP_AN_EPOCH, PATIENCE_SECONDS, check_mirror, options, wait_for

from benchmarks.lib.servers import mlflow_server, postgres, postgres_programs
from study.storage.leases import LEASE_VARIABLE, TABLE
from study.storage.optuna_db import load_optuna_study, open_storage
from study.storage.store import Store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(hosts.missing() is not None, reason=str(hosts.missing())),
    pytest.mark.skipif(postgres_programs() is None, reason="PostgreSQL is not installed"),
]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[hosts.Host, hosts.Host, Store, Store]]:
    """Two hosts and their stores; both databases are served by the first."""
    with ExitStack() as stack:
        first, second = stack.enter_context(hosts.two_hosts())
        database = stack.enter_context(postgres(first.address, first.prefix))
        served = {"host": first.address, "prefix": first.prefix}
        tracking = stack.enter_context(mlflow_server(**served))
        stores = (Store.at(tmp_path / name, database.url, tracking.uri) for name in "ab")
        yield first, second, *stores


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start `study` on a host; its output goes to a file."""
    started: list[subprocess.Popen[bytes]] = []

    def on(host: hosts.Host, output: str, *arguments: object) -> subprocess.Popen[bytes]:
        study = Path(sys.executable).with_name("study")
        command = [*host.prefix, str(study), *map(str, arguments)]
        with (tmp_path / output).open("w") as file:
            process = subprocess.Popen(
                command, cwd=tmp_path, stdout=file, stderr=file, start_new_session=True
            )
        started.append(process)
        return process

    yield on
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_cut_cable_and_a_sleeping_host_lose_nothing(
    pair: tuple[hosts.Host, hosts.Host, Store, Store],
    start: Callable[..., subprocess.Popen[bytes]],
    study_file: Callable[..., Path],
    mirror_of: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(LEASE_VARIABLE, "4")
    first, second, store, other = pair
    file = study_file(
        study__trials=8,
        pruner__name="none",
        base__train={**ONE_STEP_AN_EPOCH, "epochs": 60},
        base__eval__every_epochs=20,
    )
    launcher = start(first, "a.txt", "run", file, *options(store))
    wait_for(lambda: any(store.study("tiny").path.glob("trials/*/history.jsonl")))
    worker = start(second, "b.txt", "worker", "tiny", *options(other, tracking=False))
    engine = open_storage(store).engine

    def places() -> dict[int, str]:
        """Number of each leased trial → the host that has it."""
        with engine.connect() as connection:
            rows = connection.execute(sa.select(TABLE.c.trial, TABLE.c.place)).all()
        return {trial: place.partition(":")[0] for trial, place in rows}

    def trials_of(host: hosts.Host) -> set[int]:
        return {trial for trial, place in places().items() if place == host.name}

    def trains(host: hosts.Host, results: Store) -> bool:
        """Whether a host has begun a trial that it has: its claim is over."""
        folders = [results.study("tiny").trial(number) for number in trials_of(host)]
        return any((folder / "history.jsonl").exists() for folder in folders)

    def taken_from_second(disturb: Callable[[], object]) -> None:
        wait_for(lambda: trains(second, other))
        disturb()
        (lost,) = trials_of(second)
        wait_for(lambda: places().get(lost) == first.name)

    taken_from_second(second.cut)
    second.connect()
    # The worker finds that it has lost its trial, and goes on with another one.
    taken_from_second(lambda: os.killpg(worker.pid, signal.SIGSTOP))
    os.killpg(worker.pid, signal.SIGCONT)
    ended = launcher.wait(PATIENCE_SECONDS), worker.wait(PATIENCE_SECONDS)
    assert ended == (0, 0), [(tmp_path / name).read_text() for name in ("a.txt", "b.txt")]

    trials = load_optuna_study(store, "tiny").get_trials()
    assert [(trial.number, trial.state) for trial in trials] == [
        (number, TrialState.COMPLETE) for number in range(8)
    ]
    said = (tmp_path / "b.txt").read_text()
    assert said.count("is another process's by now") >= 2
    assert "Traceback" not in said + (tmp_path / "a.txt").read_text()
    check_mirror(mirror_of(store, "tiny"), trials)
