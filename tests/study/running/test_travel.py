"""Trials whose folders lie where all machines reach them (`--artifacts`)."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from optuna.trial import TrialState
from shared import ONE_STEP_AN_EPOCH, options, wait_for

from benchmarks.lib.servers import S3Server, postgres_programs
from dcgan.data.bank import PhotoBank
from dcgan.errors import UsageError
from dcgan.training.run.checkpoint import load_checkpoint
from dcgan.training.run.folder import RunFolder
from study.config.study_config import StudyConfig
from study.errors import SharedPlaceError, StudyError
from study.maintenance.delete import delete_study
from study.maintenance.doctor import store_checks
from study.running import travel
from study.running.extend import check_extension, extend
from study.running.observer import LossesLogged, TrainingStarted, TrialEnded
from study.running.prepare import prepare
from study.running.study import run_study
from study.running.travel import bring_newest, bring_trial
from study.running.worker import Job, run_job
from study.storage.attributes import IDENTITY_ATTRIBUTE, stored_identity, with_addresses
from study.storage.leases import LEASE_VARIABLE
from study.storage.optuna_db import load_optuna_study
from study.storage.places import Place
from study.storage.shared_trials import Known, SharedTrials
from study.storage.store import Store
from study.storage.trial_record import TrialRecord

Maker = Callable[..., StudyConfig]
needs_postgres = pytest.mark.skipif(
    postgres_programs() is None, reason="PostgreSQL (initdb, pg_ctl) is not installed"
)
LONG: dict[str, Any] = {
    "pruner__name": "none",
    "base__train": ONE_STEP_AN_EPOCH,
    "base__train__epochs": 60,
    "base__eval__every_epochs": 20,
}


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every checkpoint is put at once."""
    monkeypatch.setattr(travel, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(travel, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(travel, "SHARE", 1e9)


@pytest.fixture
def shared_store(store: Store, tmp_path: Path) -> Store:
    return replace(store, shared=str(tmp_path / "shared"))


def shared_of(store: Store) -> SharedTrials:
    study = load_optuna_study(store, "tiny")
    found = SharedTrials.of(with_addresses(store, study), study)
    assert found
    return found


def lose_disk(store: Store) -> None:
    """The machine is gone, with the trials' folders on it."""
    shutil.rmtree(store.study("tiny").path / "trials")


def test_a_trial_goes_on_from_its_checkpoint_after_its_disk_is_lost(
    tiny_study: Maker,
    finished: Any,
    shared_store: Store,
    bank: PhotoBank,
    watch: Any,
    essence: Any,
    mirror_of: Any,
) -> None:
    config = tiny_study(study__trials=2)
    run_study(config, shared_store, bank=bank, observer=watch(stop_after=(1, 2)))
    lose_disk(shared_store)
    # The address is the study's own: the next launch need not name it.
    watcher = watch()
    summary = run_study(config, replace(shared_store, shared=None), bank=bank, observer=watcher)
    assert [event.done for event in watcher.of(TrainingStarted)] == [3]
    assert watcher.warnings == []
    assert essence(summary.study) == essence(finished.summary.study)[:2]
    mirror = mirror_of(shared_store)
    for run in mirror.runs("trial"):
        points = mirror.points(run)
        assert len(points) == len(set(points))
    assert len(mirror.runs("trial")) == 2
    assert [run.info.status for run in mirror.runs("trial")] == ["FINISHED"] * 2
    # What this disk lost of the trial that had ended is still in the place.
    bring_trial(shared_store, "tiny", 0)
    assert (shared_store.study("tiny").trial(0) / "samples_final.png").exists()


def test_a_killed_process_loses_at_most_what_followed_the_last_put(
    tiny_study: Maker,
    shared_store: Store,
    bank: PhotoBank,
    watch: Any,
    essence: Any,
    new_store: Callable[[], Store],
    tmp_path: Path,
) -> None:
    """A process that is gone at any moment has not told anybody; here it is an exception."""
    config = tiny_study(**LONG, study__trials=1)

    class Killed(BaseException):
        pass

    def react(event: Any) -> None:
        known = Known.load(shared_store.study("tiny").trial(0))
        if isinstance(event, LossesLogged) and known and known.count and event.record.epoch > 25:
            raise Killed

    with pytest.raises(Killed):
        run_study(config, shared_store, bank=bank, observer=watch(react))
    lose_disk(shared_store)
    put = shared_of(shared_store).trial(0)
    bring_newest(put, folder := tmp_path / "looked at", 1)
    step = load_checkpoint(RunFolder(folder).checkpoint).step
    watcher = watch()
    summary = run_study(config, shared_store, bank=bank, observer=watcher)
    (began,) = watcher.of(TrainingStarted)
    assert began.done == step > 0
    alone = run_study(config, new_store(), bank=bank)
    assert essence(summary.study) == essence(alone.study)


def test_a_place_that_is_away_delays_nothing_and_is_made_up_for(
    tiny_study: Maker,
    shared_store: Store,
    bank: PhotoBank,
    watch: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(travel, "TRIES", 1)
    place = Path(str(shared_store.shared))
    away = place.with_name("away")

    def react(event: Any) -> None:
        if isinstance(event, TrainingStarted) and event.trial == 0:
            place.rename(away)
            place.write_text("a file where the folder was")

    watcher = watch(react)
    first = run_study(tiny_study(study__trials=2), shared_store, bank=bank, observer=watcher)
    assert (first.finished, first.interrupted) == (2, False)
    told = [text for text in watcher.warnings if "do not have its latest checkpoint" in text]
    assert len(told) == 2, watcher.warnings  # once for each trial
    assert any("is not in the shared place yet" in text for text in watcher.warnings)
    with pytest.raises(SharedPlaceError, match=r"FileExistsError|NotADirectoryError"):
        run_study(tiny_study(study__trials=3), shared_store, bank=bank)
    assert len(load_optuna_study(shared_store, "tiny").trials) == 2
    place.unlink()
    away.rename(place)
    watcher = watch()
    run_study(tiny_study(study__trials=3), shared_store, bank=bank, observer=watcher)
    assert watcher.warnings == []
    for number in range(3):
        newest = shared_of(shared_store).trial(number).newest()
        assert newest
        assert "result.json" in newest.files


@needs_postgres
def test_a_worker_on_another_disk_makes_up_for_what_was_missed_there(
    tiny_study: Maker,
    machines: tuple[Store, Store],
    bank: PhotoBank,
    watch: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(travel, "TRIES", 1)
    place, away = tmp_path / "shared", tmp_path / "away"
    launcher, elsewhere = (replace(store, shared=str(place)) for store in machines)

    def react(event: Any) -> None:
        if isinstance(event, TrainingStarted):
            place.rename(away)
            place.write_text("a file where the folder was")
        if isinstance(event, TrialEnded):
            place.unlink()
            away.rename(place)

    config = tiny_study(study__trials=1)
    with prepare(config, launcher, bank) as plan:
        job = Job.of(plan.context)
        watcher = watch(react)
        run_job(replace(job, root=str(elsewhere.root)), watcher, bank)
    assert any("do not have its latest checkpoint" in text for text in watcher.warnings)
    newest = shared_of(launcher).trial(0).newest()
    assert newest
    assert "result.json" in newest.files


def test_checkpoints_that_nobody_needs_leave_the_place_too(
    tiny_study: Maker, shared_store: Store, bank: PhotoBank, store: Store
) -> None:
    config = tiny_study(study__trials=3, checkpoints__keep=1, pruner__name="none")
    done = run_study(config, shared_store, bank=bank)
    trials = shared_of(shared_store)
    manifests = [trials.trial(number).newest() for number in range(3)]
    kept = [number for number, it in enumerate(manifests) if it and it.has_checkpoint]
    assert kept == [done.study.best_trial.number]
    checks = [check() for check in store_checks(store)]  # the address is the study's
    place = f"{shared_store.shared}/{trials.name}"
    assert f"{place} gets trials' folders, and takes them" in [it.text for it in checks]
    asked: list[str] = []
    assert delete_study(store, "tiny", lambda question: not asked.append(question))
    assert asked[0].endswith(f"and its MLflow experiment and what is in {place}?")
    assert not any(path.is_file() for path in Path(str(shared_store.shared)).rglob("*"))


def test_an_extension_finds_the_checkpoint_in_the_place(
    tiny_study: Maker, shared_store: Store, bank: PhotoBank, watch: Any
) -> None:
    first = run_study(tiny_study(study__trials=2), shared_store, bank=bank)
    lose_disk(shared_store)
    extension = extend(shared_store, "tiny", 1, 4, None)
    assert check_extension(extension, shared_store, bank) == []
    lose_disk(shared_store)
    watcher = watch()
    done = run_study(extension.config, shared_store, bank=bank, observer=watcher)
    (began,) = watcher.of(TrainingStarted)
    assert began.done == 2 * began.steps_per_epoch
    assert watcher.warnings == []
    scores = first.study.best_trial.intermediate_values
    assert done.study.get_trials()[0].intermediate_values[2] == scores[2]


def test_a_trial_waits_if_its_folder_cannot_be_had(
    tiny_study: Maker,
    shared_store: Store,
    bank: PhotoBank,
    watch: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without it the trial would begin again, and its first put would replace what is there."""
    config = tiny_study(study__trials=1)
    run_study(config, shared_store, bank=bank, observer=watch(stop_after=(0, 2)))
    lose_disk(shared_store)
    monkeypatch.setattr(travel, "TRIES", 1)

    def broken(place: Place, key: str, target: Any) -> str:
        raise place.fault("read", "the cable is out")

    with monkeypatch.context() as patch:
        patch.setattr(Place, "download", broken)
        with pytest.raises(StudyError, match="trial 0 waits to be continued: cannot read"):
            run_study(config, shared_store, bank=bank)
    assert load_optuna_study(shared_store, "tiny").trials[0].state == TrialState.WAITING
    assert not shared_store.study("tiny").trial(0).exists()
    watcher = watch()
    run_study(config, shared_store, bank=bank, observer=watcher)
    assert [event.done for event in watcher.of(TrainingStarted)] == [3]


def test_what_is_damaged_there_does_not_stop_a_study(
    tiny_study: Maker,
    shared_store: Store,
    bank: PhotoBank,
    watch: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny_study(study__trials=1)
    run_study(config, shared_store, bank=bank, observer=watch(stop_after=(0, 2)))
    lose_disk(shared_store)
    monkeypatch.setattr(travel, "TRIES", 1)
    for path in Path(str(shared_store.shared)).rglob("history.jsonl~*"):
        path.write_text("not what was put")
    watcher = watch()
    run_study(config, shared_store, bank=bank, observer=watcher)
    assert [event.done for event in watcher.of(TrainingStarted)] == [0]
    (told,) = watcher.warnings
    assert told.startswith("trial 0 continues from what is on this disk: ")
    assert told.endswith(" is damaged")


def test_a_machine_without_the_mount_does_not_join(
    tiny_study: Maker,
    shared_store: Store,
    bank: PhotoBank,
    watch: Any,
    tmp_path: Path,
    new_store: Any,
) -> None:
    config = tiny_study(study__trials=1)
    run_study(config, shared_store, bank=bank)
    elsewhere = replace(shared_store, shared=str(tmp_path / "not mounted"))
    with (
        pytest.raises(SharedPlaceError, match=r"has no folder tiny-\w+ of this study: is it the"),
        prepare(config, elsewhere, bank, joining=True),
    ):
        pass
    with prepare(tiny_study(study__trials=2), shared_store, bank) as plan:
        job = replace(Job.of(plan.context), shared=elsewhere.shared)  # a worker on another node
        with pytest.raises(SharedPlaceError, match=r"has no folder tiny-\w+ of this study"):
            run_job(job, watch(), bank)
    plain = new_store()
    run_study(config, plain, bank=bank)
    with (
        pytest.raises(UsageError, match="the study 'tiny' was launched without --artifacts"),
        prepare(config, replace(plain, shared=shared_store.shared), bank, joining=True),
    ):
        pass


def test_a_study_that_moves_to_another_place_puts_all_that_it_needs_there(
    tiny_study: Maker, shared_store: Store, bank: PhotoBank, watch: Any, tmp_path: Path
) -> None:
    run_study(tiny_study(study__trials=1), shared_store, bank=bank)
    moved = replace(shared_store, shared=str(tmp_path / "another"))
    two = tiny_study(study__trials=2)
    run_study(two, moved, bank=bank, observer=watch(stop_after=(1, 2)))
    shutil.rmtree(str(shared_store.shared))
    lose_disk(moved)
    watcher = watch()
    run_study(two, replace(moved, shared=None), bank=bank, observer=watcher)
    assert [event.done for event in watcher.of(TrainingStarted)] == [3]
    assert watcher.warnings == []


def test_another_kind_of_device_leaves_paused_trials_to_their_machine(
    tiny_study: Maker, shared_store: Store, bank: PhotoBank
) -> None:
    config = tiny_study(study__trials=1)
    run_study(config, shared_store, bank=bank)
    with prepare(config, shared_store, bank) as plan:
        assert plan.context.claims.everywhere
    study = load_optuna_study(shared_store, "tiny")
    identity = {**stored_identity(study), "environment.device": "cuda"}
    study.set_user_attr(IDENTITY_ATTRIBUTE, json.dumps(identity))
    with prepare(config, shared_store, bank) as plan:
        assert not plan.context.claims.everywhere


def test_the_machine_that_had_a_trial_before_does_not_show_its_old_end(
    tiny_study: Maker, own_finished: Store, mirror_of: Any, shell: Any
) -> None:
    """`study sync` on it, after another machine went on with the trial."""
    shown = mirror_of(own_finished).runs("trial")
    complete = next(run for run in shown if run.info.status == "FINISHED")
    number = int(complete.data.tags["optuna.trial_number"])
    folder = own_finished.study("tiny").trial(number)
    record = TrialRecord.load(folder)
    assert record
    assert record.ended
    replace(record, state="PRUNED", reason="waits on rung 1", ended=record.ended - 60).save(folder)
    shell("sync", "tiny", "--store", own_finished.root)
    (run,) = [
        run
        for run in mirror_of(own_finished).runs("trial")
        if run.info.run_id == complete.info.run_id
    ]
    assert run.info.status == "FINISHED"
    assert run.data.tags["optuna.state"] == "COMPLETE"


RUNGS: dict[str, Any] = {
    "study__trials": 3,
    "budget__images": [320, 640, 1280],  # of 32 photos: epochs 10, 20 and 40
    "budget__keep": "1/3",
    "pruner__name": "none",
    "collapse__patience_epochs": 0,
    "base__eval__every_epochs": 10,
    "base__train": ONE_STEP_AN_EPOCH,
    "baselines": [],
}


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    started = S3Server()
    yield started
    started.stop()


@pytest.fixture
def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty bucket, which child processes reach as well."""
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    return server.make_bucket(f"b{uuid4().hex}")


@pytest.mark.slow
@needs_postgres
def test_what_waits_on_a_rung_goes_on_on_another_machine(
    tiny_study: Maker,
    machines: tuple[Store, Store],
    bucket: str,
    bank: PhotoBank,
    watch: Any,
    essence: Any,
    new_store: Callable[[], Store],
) -> None:
    first, second = (replace(machine, shared=bucket) for machine in machines)
    config = tiny_study(**RUNGS)
    run_study(config, first, bank=bank, observer=watch(stop_after=(2, 3)))
    watcher = watch()
    done = run_study(config, second, bank=bank, observer=watcher)
    assert not done.interrupted
    assert watcher.warnings == []
    began = [event.done for event in watcher.of(TrainingStarted)]
    assert began[0] == 4
    assert set(began[1:]) <= {10, 20}  # from the ends of rungs
    assert essence(done.study) == essence(run_study(config, new_store(), bank=bank).study)


@pytest.mark.slow
@needs_postgres
def test_a_machine_that_dies_leaves_its_trial_to_another(
    study_file: Callable[..., Path],
    study_process: Callable[..., subprocess.Popen[str]],
    machines: tuple[Store, Store],
    bucket: str,
    mirror_of: Any,
    tiny_study: Maker,
    bank: PhotoBank,
    watch: Any,
    essence: Any,
    new_store: Callable[[], Store],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(LEASE_VARIABLE, "3")
    monkeypatch.setenv("DCGAN_STUDY_ARTIFACTS", bucket)
    first, second = machines
    settings = {**LONG, "study__trials": 1, "base__train__epochs": 600}
    settings["base__eval__every_epochs"] = 100
    dying = study_process("run", study_file(**settings), *options(first))
    root = Place.at(bucket)
    wait_for(
        lambda: any("/manifest-" in name for name in root.names("")) or dying.poll() is not None
    )
    dying.send_signal(signal.SIGKILL)
    dying.wait()
    watcher = watch()
    done = run_study(tiny_study(**settings), second, bank=bank, observer=watcher)
    (began,) = watcher.of(TrainingStarted)
    assert began.done >= 5  # the first checkpoint of all
    assert began.done % 5 == 0
    assert done.finished == 1
    alone = run_study(tiny_study(**settings), new_store(), bank=bank)
    assert essence(done.study) == essence(alone.study)
    (run,) = mirror_of(second).runs("trial")
    points = mirror_of(second).points(run)
    assert len(points) == len(set(points))
