"""Studies on a real Ray cluster of several nodes on this machine."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from optuna.trial import TrialState
from shared import ONE_STEP_AN_EPOCH, wait_for

from benchmarks.lib.ray_nodes import Nodes, actors, has_mounts, ray_nodes
from benchmarks.lib.servers import postgres_programs
from dcgan.data.bank import PhotoBank
from dcgan.errors import UsageError
from study.config.study_config import StudyConfig
from study.errors import StudyError, UnknownStudyError
from study.running.launchers import ray_cluster
from study.running.launchers.ray_connection import connect
from study.running.launchers.ray_worker import RayWorker
from study.running.observer import LossesLogged, TrainingStarted, WorkerPlaced
from study.running.study import run_study
from study.storage.leases import LEASE_VARIABLE
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store

Maker = Callable[..., StudyConfig]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
    ),
]
SHORT: dict[str, Any] = {
    "pruner__name": "none",
    "study__launcher": "ray",
    "base__train": ONE_STEP_AN_EPOCH,
    "base__train__epochs": 60,
    "base__eval__every_epochs": 20,
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Nodes]:
    with ray_nodes(2, cpus=2) as made:
        yield made


def check_shown_once(mirror: Any, total: int) -> None:
    runs = mirror.runs("trial")
    assert [int(run.data.tags["optuna.trial_number"]) for run in runs] == list(range(total))
    for run in runs:
        points = mirror.points(run)
        assert len(points) == len(set(points))
        assert run.info.status == "FINISHED"


def test_a_study_on_two_nodes_is_that_of_one_process(
    cluster: Nodes,
    tiny_study: Maker,
    store: Store,
    new_store: Callable[[], Store],
    bank: PhotoBank,
    watch: Any,
    mirror_of: Any,
) -> None:
    config = tiny_study(**SHORT, study__trials=3, study__workers=2, study__address=cluster.address)
    watcher = watch(stop_after=(1, 5))
    paused = run_study(config, store, bank=bank, observer=watcher)
    assert paused.interrupted
    assert {trial.state for trial in paused.study.get_trials()} >= {TrialState.WAITING}
    assert len(watcher.of(WorkerPlaced)) == 2
    wait_for(lambda: actors() == [])
    watcher = watch()
    done = run_study(config, store, bank=bank, observer=watcher)
    assert (done.finished, done.interrupted) == (3, False)
    assert watcher.warnings == []
    assert max(event.done for event in watcher.of(TrainingStarted)) > 0
    plain = tiny_study(**SHORT | {"study__launcher": "auto"}, study__trials=2)
    alone = run_study(plain, new_store(), bank=bank).study.get_trials()
    # The first two are baselines; what follows depends on which of them ends first.
    assert [it.values for it in done.study.get_trials()[:2]] == [it.values for it in alone]
    check_shown_once(mirror_of(store), 3)


def test_workers_that_die_lose_nothing(
    cluster: Nodes,
    tiny_study: Maker,
    store: Store,
    bank: PhotoBank,
    watch: Any,
    mirror_of: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray_cluster, "LOOK_SECONDS", 0.5)
    config = tiny_study(
        **SHORT | {"base__train__epochs": 300, "base__eval__every_epochs": 100},
        study__trials=2,
        study__workers=2,
        study__address=cluster.address,
    )
    killed: list[int] = []

    def react(event: Any) -> None:
        training = isinstance(event, LossesLogged) and event.record.epoch > 20
        if training and event.trial == 0 and not killed:
            for process in actors():
                killed.append(process.pid)
                process.kill()

    watcher = watch(react)
    ended = run_study(config, store, bank=bank, observer=watcher)
    assert killed
    assert (ended.finished, ended.interrupted) == (2, False)
    trials = ended.study.get_trials()
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    assert [text for text in watcher.warnings if " died in trial 0" in text]
    assert trials[0].user_attrs["deaths"] == 1
    assert [event.done for event in watcher.of(TrainingStarted) if event.done]
    check_shown_once(mirror_of(store), 2)


def holds(process: psutil.Process, name: str) -> bool:
    """Whether it has a file of this name open, in mounts of its own."""
    files = Path(f"/proc/{process.pid}/fd").iterdir()
    return any(file.readlink().name == name for file in files)


@pytest.mark.skipif(not has_mounts(), reason="nodes with disks of their own need Linux and root")
@pytest.mark.skipif(postgres_programs() is None, reason="PostgreSQL is not installed")
def test_nodes_lost_with_their_disks_nodes_that_join_and_a_frozen_worker(
    tiny_study: Maker,
    machines: tuple[Store, Store],
    bank: PhotoBank,
    watch: Any,
    mirror_of: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(ray_cluster, "LOOK_SECONDS", 0.5)
    monkeypatch.setattr(ray_cluster, "GRACE_SECONDS", 5.0)
    monkeypatch.setenv(LEASE_VARIABLE, "3")
    store = replace(machines[0], shared=str(tmp_path / "shared"))
    store.create()
    joined: list[int] = []
    frozen: list[psutil.Process] = []
    with ray_nodes(1, cpus=1, folder=store.root) as cluster:

        def react(event: Any) -> None:
            training = isinstance(event, LossesLogged) and event.record.epoch > 100
            if training and not joined:
                joined.append(len(watcher.of(WorkerPlaced)))
                cluster.remove(cluster.working[0])
                for _ in range(2):
                    cluster.add()
            if training and event.trial == 3 and not frozen:
                frozen.extend(it for it in actors() if holds(it, "trial-003.lock"))
                frozen[0].suspend()  # for ever

        watcher = watch(react)
        config = tiny_study(
            **SHORT | {"base__train__epochs": 600, "base__eval__every_epochs": 200},
            study__trials=4,
            study__workers="auto",
            study__address=cluster.address,
        )
        done = run_study(config, store, bank=bank, observer=watcher)
        wait_for(lambda: not frozen[0].is_running())  # it does not keep a finished launch
    assert (done.finished, done.interrupted) == (4, False)
    assert joined == [1]
    (died,) = (text for text in watcher.warnings if text.startswith("worker 1 died in trial 0"))
    assert "its node is gone; it is started again" in died
    # The loss of a node is no fault of a trial.
    assert not any("deaths" in trial.user_attrs for trial in done.study.get_trials())
    placed = watcher.of(WorkerPlaced)
    assert len(placed) >= 3  # the one that was lost, and one on each that joined
    first = [event.done for event in watcher.of(TrainingStarted) if event.trial == 0]
    assert len(first) == 2
    assert first[1] > 0  # from what was put before the disk was lost
    folder = store.study("tiny").trial(0)
    assert not folder.exists()
    assert len(list(tmp_path.glob(f"*-of-node-*/{folder.relative_to(store.root)}"))) == 2
    again = Counter(event.trial for event in watcher.of(TrainingStarted))
    assert sorted(again.values()) == [1, 1, 2, 2]  # what the frozen one had went on, too
    check_shown_once(mirror_of(store), 4)
    assert "raylet" not in "".join(capfd.readouterr())


def test_workers_without_room_are_told_and_can_be_stopped(
    cluster: Nodes, tiny_study: Maker, store: Store, bank: PhotoBank, watch: Any
) -> None:
    config = tiny_study(
        **SHORT | {"base__train": {**ONE_STEP_AN_EPOCH, "threads": 3}},
        study__trials=2,
        study__workers=2,
        study__address=cluster.address,
    )
    watcher = watch(stop=lambda: any("processors" in text for text in watcher.warnings))
    done = run_study(config, store, bank=bank, observer=watcher)
    assert done.interrupted
    told = [text for text in watcher.warnings if "processors" in text]
    assert told == [
        "no node of the cluster has 3 processors, 1.5 GiB of memory; workers wait for one"
    ]
    wait_for(lambda: actors() == [])


class Stillborn(RayWorker):
    """Ends before it answers for the first time."""

    def __init__(self) -> None:
        os._exit(3)


def test_workers_that_die_before_they_begin_are_given_up(
    cluster: Nodes,
    tiny_study: Maker,
    store: Store,
    bank: PhotoBank,
    watch: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray_cluster, "RayWorker", Stillborn)
    config = tiny_study(**SHORT, study__trials=2, study__address=cluster.address)
    watcher = watch()
    with pytest.raises(StudyError, match="all workers have died; the last one: "):
        run_study(config, store, bank=bank, observer=watcher)
    told = [text for text in watcher.warnings if text.startswith("worker 1 died: ")]
    assert len(told) == 4
    assert told[-1].endswith("; given up after 3 restarts")


def test_a_request_to_end_is_heard(
    cluster: Nodes,
    study_file: Callable[..., Path],
    study_process: Callable[..., subprocess.Popen[str]],
    store: Store,
    tmp_path: Path,
) -> None:
    settings = SHORT | {"base__train__epochs": 2000, "base__eval__every_epochs": 1000}
    file = study_file(**settings, study__trials=2, study__workers=1)
    address = ["--launcher", "ray", "--address", cluster.address]
    launcher = study_process("run", file, *address, "--store", store.root)
    wait_for(
        lambda: "epoch 5/" in (tmp_path / "stderr.txt").read_text() or launcher.poll() is not None
    )
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(120) == 130
    assert "the same command continues" in (tmp_path / "stdout.txt").read_text()
    (trial, *_) = load_optuna_study(store, "tiny").trials
    assert trial.state == TrialState.WAITING
    assert trial.user_attrs["reason"].startswith("interrupted after step")


def test_a_cluster_that_is_not_there_is_refused_before_anything_begins(
    tiny_study: Maker, store: Store, bank: PhotoBank
) -> None:
    for address, why in (("127.0.0.1:1", "Connection refused"), ("nonsense", "must be auto")):
        config = tiny_study(**SHORT | {"study__launcher": "ray"}, study__address=address)
        with pytest.raises(UsageError, match=why):
            run_study(config, store, bank=bank)
    with pytest.raises(UnknownStudyError):
        load_optuna_study(store, "tiny")
    assert not store.study("tiny").path.exists()


def test_lines_are_kept_until_they_were_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    worker = RayWorker()
    context = SimpleNamespace(get_node_id=lambda: "node")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "address")
    for line in ("one", "two"):
        worker.write(line)
    assert worker.events(0) == ("node", "address", 0, ["one", "two"])
    worker.write("three")
    assert worker.events(0)[2:] == (0, ["one", "two", "three"])  # the answer got lost
    assert worker.events(2)[2:] == (2, ["three"])
    assert worker.events(1)[2:] == (2, ["three"])  # a call that was under way before
    assert worker.events(3)[2:] == (3, [])


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1"):
        with pytest.raises(
            UsageError, match=r"127\.0\.0\.1:1 \(--address\): Connection refused; 'r"
        ):
            connect(address)
    with pytest.raises(UsageError, match="--address nonsense must be auto, HOST:PORT or ray://"):
        connect("nonsense")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"needs Ray: pip install 'dcgan-study\[ray\]'"):
        connect(None)
