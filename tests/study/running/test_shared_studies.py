"""A study that machines share: a real PostgreSQL, a real MLflow server, one folder a machine."""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from shared import PATIENCE_SECONDS, check_mirror, options, wait_for

from benchmarks.lib.servers import (
    Postgres,
    postgres_programs,
)
from study.errors import LeaseLostError, StudyMismatchError
from study.running.claims import Claims
from study.running.observer import Event, Scored, TrialEnded
from study.running.study import run_study
from study.running.trial import TrialRun
from study.storage.leases import LEASE_VARIABLE, Leases
from study.storage.optuna_db import finished_count, load_optuna_study, open_storage
from study.storage.store import Store
from study.storage.trial_record import TrialRecord
from study.tracking.experiment import Tracker
from study.tracking.sync import sync_study

Maker = Callable[..., Any]
Start = Callable[..., subprocess.Popen[str]]
File = Callable[..., Path]

pytestmark = pytest.mark.skipif(
    postgres_programs() is None, reason="PostgreSQL (initdb, pg_ctl) is not installed"
)


def has_score(store: Store) -> bool:
    histories = store.study("tiny").path.glob("trials/*/history.jsonl")
    return any('"kind": "eval"' in path.read_text(encoding="utf-8") for path in histories)


def check_as_alone(store: Store, name: str, total: int, mirror: Any, alone: Any) -> None:
    """Every trial is there once, in Optuna and in MLflow, with the numbers of a quiet study."""
    study = load_optuna_study(store, name)
    trials = study.get_trials()
    assert [trial.number for trial in trials] == list(range(total))
    expected = {trial.number: trial for trial in alone.get_trials()}
    for trial in trials:
        assert trial.state.name == "COMPLETE", trial.user_attrs
        same = expected[trial.number]
        if trial.params == same.params:  # what the sampler knew depends on who finished when
            assert trial.values == same.values
            assert trial.intermediate_values == same.intermediate_values
    check_mirror(mirror(store, name), trials)


@pytest.fixture(scope="module")
def quiet(tiny_study: Maker, new_store: Callable[[], Store], bank: Any) -> Callable[..., Any]:
    """The same study, run once by one process that nothing disturbs."""
    known: dict[str, Any] = {}

    def run(**settings: Any) -> Any:
        key = repr(sorted(settings.items()))
        if key not in known:
            known[key] = run_study(tiny_study(**settings), new_store(), bank=bank).study
        return known[key]

    return run


LONG = {
    "pruner__name": "none",
    "base__train__batch_size": 32,  # a step an epoch
    "base__train__epochs": 60,
    "base__eval__every_epochs": 20,
}


@pytest.mark.slow
def test_a_second_machine_joins(
    study_file: File,
    study_process: Start,
    machines: tuple[Store, Store],
    quiet: Any,
    mirror_of: Any,
    tmp_path: Path,
) -> None:
    first, second = machines
    shorter = {"base__train__epochs": 30, "base__eval__every_epochs": 10}
    settings = {**LONG, **shorter, "study__trials": 4}
    launcher = study_process("run", study_file(**settings), *options(first), output="a")
    wait_for(lambda: has_score(first) or launcher.poll() is not None)
    joined = study_process("worker", "tiny", *options(second, tracking=False), output="b")
    assert [launcher.wait(PATIENCE_SECONDS), joined.wait(PATIENCE_SECONDS)] == [0, 0], (
        (tmp_path / "a.err").read_text(),
        (tmp_path / "b.err").read_text(),
    )
    check_as_alone(first, "tiny", 4, mirror_of, quiet(**settings))
    folders = [{path.name for path in m.study("tiny").path.glob("trials/*")} for m in machines]
    assert all(folders)
    assert not folders[0] & folders[1]
    assert len(folders[0] | folders[1]) == 4
    for said in ("a.out", "a.err", "b.out", "b.err"):
        assert "a-password" not in (tmp_path / said).read_text()
    # The one that joined leaves what belongs to the study to the one that began it.
    assert not second.study("tiny").leaderboard.exists()
    assert first.study("tiny").best.exists()


@pytest.mark.slow
def test_a_frozen_worker_lets_go_of_its_trial(
    study_file: File,
    study_process: Start,
    machines: tuple[Store, Store],
    quiet: Any,
    mirror_of: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(LEASE_VARIABLE, "3")
    first, second = machines
    settings = {**LONG, "study__trials": 2}
    file = study_file(**settings)
    frozen = study_process("run", file, *options(first), output="a")
    markers = first.study("tiny").path / "trials"
    wait_for(lambda: any(markers.glob("*/.delivered*")) or frozen.poll() is not None)
    shown = mirror_of(first).runs("trial")[0]
    assert shown.data.metrics["eval/fd_random"] > 0
    frozen.send_signal(signal.SIGSTOP)
    leases = Leases(open_storage(first).engine, "tiny", "looker")
    wait_for(lambda: leases.elsewhere()[0])
    try:
        other = study_process("run", file, *options(second), output="b")
        assert other.wait(PATIENCE_SECONDS) == 0, (tmp_path / "b.err").read_text()
    finally:
        frozen.send_signal(signal.SIGCONT)
    assert frozen.wait(PATIENCE_SECONDS) == 0, (tmp_path / "a.err").read_text()
    assert "is another process's by now" in (tmp_path / "a.err").read_text()
    assert "was cut off earlier and continues from step 0" in (tmp_path / "b.err").read_text()
    check_as_alone(second, "tiny", 2, mirror_of, quiet(**settings))
    assert shown.info.run_id not in {run.info.run_id for run in mirror_of(second).runs("trial")}


@pytest.mark.slow
def test_a_database_that_restarts_only_delays(
    tiny_study: Maker,
    database: Postgres,
    machines: tuple[Store, Store],
    quiet: Any,
    mirror_of: Any,
    watch: Any,
) -> None:
    restarts: list[int] = []

    def restart(event: Event) -> None:
        if isinstance(event, Scored) and not restarts:
            restarts.append(event.record.epoch)
            database.stop()
            threading.Timer(3.0, database.start).start()

    settings = {"study__trials": 3, "pruner__name": "none"}
    watcher = watch(restart)
    run_study(tiny_study(**settings), machines[0], observer=watcher)
    assert restarts == [1]
    said = watcher.warnings
    assert any("does not answer" in line and "waiting for it" in line for line in said)
    assert any("answers again after" in line for line in said)
    check_as_alone(machines[0], "tiny", 3, mirror_of, quiet(**settings))


@pytest.mark.slow
def test_an_mlflow_server_that_is_away_gets_everything_later(
    tiny_study: Maker,
    url: str,
    quiet: Any,
    mirror_of: Any,
    watch: Any,
    make_tracking: Any,
    tmp_path: Path,
) -> None:
    settings = {"study__trials": 3, "pruner__name": "none"}
    with make_tracking() as server:

        def stop_server(event: Event) -> None:
            if isinstance(event, Scored) and server.process:
                server.stop()

        store = Store.at(tmp_path / "a", url, server.uri)
        watcher = watch(stop_server)
        summary = run_study(tiny_study(**settings), store, observer=watcher)
        assert summary.finished == 3
        assert [line for line in watcher.warnings if "MLflow" in line] == [
            "MLflow was not updated (it does not answer); the run's own folder has everything"
        ]
        server.start()
        run_study(tiny_study(**settings), store)
        check_as_alone(store, "tiny", 3, mirror_of, quiet(**settings))


@pytest.mark.slow
def test_other_photos_are_refused(
    tiny_study: Maker, machines: tuple[Store, Store], bank: Any
) -> None:
    config = tiny_study(study__trials=1)
    run_study(config, machines[0], bank=bank)
    other = tiny_study(study__trials=2, base__data__toy_seed=9)
    with pytest.raises(StudyMismatchError, match=r"data\.fingerprint"):
        run_study(other, machines[1], joining=True)
    assert finished_count(load_optuna_study(machines[0], "tiny")) == 1


@pytest.mark.slow
def test_a_machine_that_cannot_reach_mlflow_is_told(
    tiny_study: Maker, shell: Any, url: str, bank: Any, tmp_path: Path
) -> None:
    run_study(tiny_study(study__trials=1), Store.at(tmp_path / "a", url), bank=bank)
    said = shell("worker", "tiny", "--store", tmp_path / "b", "--storage", url, code=2).stderr
    assert "launch it with --tracking-uri" in said
    assert not (tmp_path / "b").exists()


# Leases


@pytest.fixture
def leases(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Leases, Leases]:
    """Two processes' view of a study's leases, which last a second."""
    monkeypatch.setenv(LEASE_VARIABLE, "1")
    engine = open_storage(Store.at(tmp_path, url)).engine
    both = tuple(Leases(engine, "tiny", name) for name in "ab")
    return both  # type: ignore[return-value]


@pytest.mark.slow
def test_a_lease_expires_unless_it_is_kept(leases: tuple[Leases, Leases]) -> None:
    mine, other = leases
    mine.write(3)
    with mine.kept(3) as check:
        time.sleep(1.6)
        assert other.elsewhere() == {3: False}
        assert mine.elsewhere() == {}
        check()
    time.sleep(1.1)
    assert other.elsewhere() == {3: True}
    check()  # nobody has taken it, so it is still this one's
    other.write(3)
    assert not mine.renew(3)
    mine.end(3)
    assert other.renew(3)
    assert mine.elsewhere() == {3: False}
    other.end(3)
    assert mine.elsewhere() == {}


def test_a_lease_that_was_taken_is_lost(leases: tuple[Leases, Leases]) -> None:
    mine, other = leases
    mine.write(3)
    with mine.kept(3) as check:
        other.write(3)
        time.sleep(1.1)
        with pytest.raises(LeaseLostError, match="trial 3 is another process's by now"):
            check()


@pytest.mark.slow
def test_a_lease_that_was_renewed_meanwhile_is_kept(leases: tuple[Leases, Leases]) -> None:
    mine, other = leases
    mine.write(3)
    time.sleep(1.1)
    assert other.elsewhere() == {3: True}
    mine.seconds = 3.0
    assert mine.renew(3)  # its owner was slow
    assert other.forget([3, 4]) == {3}
    assert mine.renew(3)
    time.sleep(3.1)
    assert other.forget([3, 4]) == set()
    assert not mine.renew(3)


@pytest.mark.slow
def test_a_process_that_was_frozen_while_it_opened_a_run_withdraws_it(
    tiny_study: Maker,
    machines: tuple[Store, Store],
    bank: Any,
    mirror_of: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(LEASE_VARIABLE, "1")
    store, create, made = machines[0], Tracker._create, list[str]()

    def frozen(tracker: Tracker, name: str, tags: Any) -> str:
        if tags["kind"] != "trial" or made:
            return create(tracker, name, tags)
        Leases(open_storage(store).engine, "tiny", "another host").write(0)
        made.append(create(tracker, name, tags | {"started": "later"}))
        time.sleep(1.1)
        made.append(create(tracker, name, tags))
        return made[1]

    monkeypatch.setattr(Tracker, "_create", frozen)
    done = run_study(tiny_study(study__trials=1), store, bank=bank)
    shown = mirror_of(store)
    assert [shown.client.get_run(it).info.lifecycle_stage for it in made] == ["deleted"] * 2
    check_mirror(shown, done.study.get_trials()[:1])


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [False, True])
def test_a_process_that_was_frozen_while_it_ended_a_trial_leaves_it(
    tiny_study: Maker,
    machines: tuple[Store, Store],
    bank: Any,
    watch: Any,
    mirror_of: Any,
    monkeypatch: pytest.MonkeyPatch,
    stopped: bool,
) -> None:
    monkeypatch.setenv(LEASE_VARIABLE, "2")
    store, attributes, taken = machines[0], TrialRun._attributes, list[int]()

    def frozen(run: TrialRun, *arguments: Any) -> dict[str, Any]:
        if not taken:
            taken.append(run.trial.number)
            Leases(open_storage(store).engine, "tiny", "another host").write(taken[0])
        return attributes(run, *arguments)

    monkeypatch.setattr(TrialRun, "_attributes", frozen)
    watcher = watch(stop_after=(0, 1)) if stopped else watch()
    run_study(tiny_study(study__trials=1), store, bank=bank, observer=watcher)
    assert any("trial 0 is another process's by now" in text for text in watcher.warnings)
    trials = load_optuna_study(store, "tiny").get_trials()[:1]
    ended = [event.state for event in watcher.of(TrialEnded)]
    if stopped:
        assert (trials[0].state.name, ended) == ("RUNNING", ["WAITING"])  # there
    else:
        assert ended == ["WAITING", "COMPLETE"]  # when the lease there has expired
        check_mirror(mirror_of(store), trials)


@pytest.mark.slow
def test_sync_leaves_another_machines_trial_to_it(
    tiny_study: Maker,
    machines: tuple[Store, Store],
    bank: Any,
    mirror_of: Any,
) -> None:
    store = machines[0]
    study = run_study(tiny_study(study__trials=1), store, bank=bank).study
    there = Leases(open_storage(store).engine, "tiny", "another host")
    there.write(study.ask().number)
    folder = store.study("tiny")
    shutil.copytree(folder.trial(0), folder.trial(1))  # of before, when it was this machine's
    record = TrialRecord.load(folder.trial(0))
    assert record
    replace(record, number=1, state="RUNNING").save(folder.trial(1))
    shown = mirror_of(store)
    sync_study(store, "tiny")
    assert len(shown.runs("trial")) == 1
    there.end(1)
    sync_study(store, "tiny")
    assert len(shown.runs("trial")) == 2


@pytest.mark.slow
def test_an_outage_takes_nobodys_trial(
    database: Postgres, leases: tuple[Leases, Leases], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = leases
    for one in leases:
        one.seconds = 2.0
    mine.write(3)
    database.stop()
    time.sleep(2.1)
    database.start()
    assert not other.elsewhere()[3]  # nobody could have renewed it
    assert mine.renew(3)
    time.sleep(2.2)
    assert other.elsewhere()[3]
    monkeypatch.setattr(
        "study.storage.leases.quiet_seconds", lambda: 1.9
    )  # trouble on the way to it
    assert not other.elsewhere()[3]


@pytest.mark.slow
def test_containers_of_one_name_are_two_places(
    tiny_study: Maker, machines: tuple[Store, Store], bank: Any
) -> None:
    run_study(tiny_study(study__trials=1), machines[0], bank=bank)
    study = load_optuna_study(machines[0], "tiny")
    here = Claims(study, machines[0].study("tiny"))
    shutil.rmtree(here.locks)  # the same path on a disk of its own
    there = Claims(study, machines[0].study("tiny"))
    assert here.leases
    assert there.leases
    assert here.leases.place != there.leases.place
    assert there.leases.place == Claims(study, machines[0].study("tiny")).leases.place  # type: ignore[union-attr]


def test_one_process_at_a_time_is_alone(leases: tuple[Leases, Leases]) -> None:
    order: list[str] = []

    def second() -> None:
        with leases[1].alone("claims", 60):
            order.append("second")

    with leases[0].alone("claims", 60):
        thread = threading.Thread(target=second)
        thread.start()
        with leases[0].alone("publishing", 60):  # another lock
            time.sleep(0.5)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


@pytest.mark.slow
def test_a_trial_of_another_machine_is_not_free(
    tiny_study: Maker, machines: tuple[Store, Store], bank: Any
) -> None:
    run_study(tiny_study(study__trials=1), machines[0], bank=bank)
    here, there = (Claims(load_optuna_study(m, "tiny"), m.study("tiny")) for m in machines)
    with there.next(3) as claim:
        assert claim
        number = claim.trial.number
        assert here.orphans() == []
        assert here.is_held(number)
        assert here.running_elsewhere() == [number]
        with here.take(number) as taken:
            assert taken is None
    assert [trial.number for trial in here.orphans()] == [number]
    with here.take(number) as taken:
        assert taken
        assert there.running_elsewhere() == [number]


# Addresses that cannot be used


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda url: url.replace("a-password", "wrong"), "password authentication failed"),
        (lambda url: url.replace("127.0.0.1", "no-such-host.invalid"), "resolve host"),
        (lambda url: url.rpartition(":")[0] + ":1/study", "Connection refused"),
        (lambda url: url + "-other", 'database "study-other" does not exist'),
    ],
)
def test_a_database_that_cannot_be_reached(
    shell: Any, study_file: File, url: str, tmp_path: Path, change: Any, expected: str
) -> None:
    arguments = ("run", study_file(), "--store", tmp_path / "s", "--storage", change(url))
    (line,) = shell(*arguments, code=1).stderr.strip().splitlines()
    assert expected in line
    assert "cannot open the study database postgresql://study:***@" in line
    assert "wrong" not in line


def test_a_server_that_is_no_mlflow(shell: Any, study_file: File, url: str, tmp_path: Path) -> None:
    arguments = ("run", study_file(), "--store", tmp_path / "s", "--storage", url)
    said = shell(*arguments, "--tracking-uri", "http://127.0.0.1:1", code=1).stderr
    assert "cannot open the MLflow server http://127.0.0.1:1: it does not answer" in said
