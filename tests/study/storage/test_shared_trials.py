"""Trials' folders in a place that all machines reach: a folder, and a server that speaks S3."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import optuna
import pytest

from benchmarks.lib.servers import S3Server, free_port
from dcgan.errors import UsageError
from study.errors import DamagedError, LeaseLostError, SharedPlaceError
from study.storage.addresses import check_shared_address
from study.storage.places import CHUNK_BYTES, Place
from study.storage.shared_trials import (
    KNOWN,
    Attempt,
    Known,
    Manifest,
    SharedTrial,
    SharedTrials,
    changed,
)
from study.storage.store import Store
from study.storage.trial_record import TrialRecord


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    started = S3Server()
    yield started
    started.stop()


@pytest.fixture(params=["folder", "s3"])
def shared(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> SharedTrials:
    """An empty place of each kind."""
    if request.param == "folder":
        return SharedTrials(str(tmp_path / "shared"), "tiny")
    server: S3Server = request.getfixturevalue("server")
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    return SharedTrials(f"{server.make_bucket(f'b{uuid4().hex}')}/studies", "tiny")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A trial's folder whose best checkpoint is the last one."""
    made = tmp_path / "trial-007"
    (made / "samples").mkdir(parents=True)
    (made / "checkpoint.pt").write_bytes(os.urandom(20_000_000))  # more than one part on S3
    (made / "best.pt").hardlink_to(made / "checkpoint.pt")
    (made / "history.jsonl").write_text("one\n")
    (made / "samples" / "step_000001.png").write_bytes(b"picture")
    TrialRecord(7, {}, "sampler", None, 1, run_id="a run").save(made)
    (made / ".delivered_to_mlflow.json").write_text("[]")
    return made


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != KNOWN)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def objects(trial: SharedTrial) -> set[str]:
    return set(trial.place.names(trial.path))


def attempt(trial: SharedTrial, folder: Path, number: int) -> Attempt:
    return Attempt(trial, folder, number, lambda: None)


def newest(trial: SharedTrial) -> Manifest:
    found = trial.newest()
    assert found
    return found


def test_a_folder_comes_as_it_was_put(shared: SharedTrials, folder: Path, tmp_path: Path) -> None:
    trial = shared.trial(7)
    assert trial.newest() is None
    attempt(trial, folder, 1).put()
    put = newest(trial)
    assert (put.attempt, put.count, put.has_checkpoint) == (1, 1, True)
    other = tmp_path / "trials" / "trial-007"
    other.mkdir(parents=True)
    (other / "left.txt").write_text("of an earlier try")
    trial.bring(put, other)
    there = content(folder)
    there.pop(".delivered_to_mlflow.json")  # is of this disk
    there["trial.json"] = there["trial.json"].replace(b'"a run"', b"null")
    assert content(other) == there
    for one in (folder, other):
        known = Known.load(one)
        assert known
        assert (known.attempt, known.count) == (1, 1)
        assert not changed(one, known)
        (one / "best.pt").unlink()  # as a study does that needs it no more
        assert not changed(one, known)
        (one / "history.jsonl").write_text("later\n")
        assert changed(one, known)


def test_only_what_changed_is_sent_and_what_nothing_names_is_removed(
    shared: SharedTrials, folder: Path
) -> None:
    trial, ours = shared.trial(7), attempt(shared.trial(7), folder, 1)
    ours.put()
    first = newest(trial)
    assert first.files["best.pt"] == first.files["checkpoint.pt"]  # two names of one file
    assert objects(trial) == {"manifest-1.json", *(it.key for it in first.files.values())}
    assert len(objects(trial)) == 5
    (folder / "history.jsonl").write_text("one\ntwo\n")
    fresh = folder / "fresh"
    fresh.write_bytes(b"later")
    fresh.replace(folder / "checkpoint.pt")
    ours.put()
    second = newest(trial)
    assert second.count == 2
    unchanged = ("best.pt", "samples/step_000001.png", "trial.json")
    assert all(second.files[name] == first.files[name] for name in unchanged)
    assert objects(trial) == {"manifest-1.json", *(it.key for it in second.files.values())}
    assert shared.with_checkpoints() == {7}
    trial.drop_checkpoints()
    assert not newest(trial).has_checkpoint
    assert set(newest(trial).files) == {"history.jsonl", "samples/step_000001.png", "trial.json"}
    assert not any(".pt" in name for name in objects(trial))
    assert shared.with_checkpoints() == set()
    shared.remove()
    assert objects(trial) == set()
    shared.remove()  # nothing to do


def test_a_reader_finds_the_folder_before_if_a_put_is_cut_off(
    shared: SharedTrials, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial, ours, other = shared.trial(7), attempt(shared.trial(7), folder, 1), tmp_path / "other"
    ours.put()
    before, then = newest(trial), content(folder)

    def cut(place: Place, *rest: Any) -> None:
        raise place.fault("write to", "the cable is out")

    for method in ("write", "upload"):
        (folder / "history.jsonl").write_text(f"one\n{method}\n")
        with monkeypatch.context() as patch:
            patch.setattr(Place, method, cut)
            with pytest.raises(
                SharedPlaceError, match=r"cannot write to .*the cable is out; check"
            ):
                ours.put()
        assert newest(trial) == before
        trial.bring(before, other)
        assert content(other)["history.jsonl"] == then["history.jsonl"]
    (folder / "history.jsonl").write_text("one\ntwo\n")
    known = Known.load(folder)
    assert known
    assert changed(folder, known)
    with monkeypatch.context() as patch:  # the manifest is there, and what is useless is left
        patch.setattr(Place, "remove", cut)
        with pytest.raises(SharedPlaceError):
            ours.put()
    (folder / "history.jsonl").write_text("one\ntwo\nthree\n")
    with monkeypatch.context() as patch:
        patch.setattr(Place, "write", cut)
        with pytest.raises(SharedPlaceError):
            ours.put()
    trial.bring(newest(trial), other)
    assert content(other)["history.jsonl"] == b"one\ntwo\n"
    ours.put()
    assert {"manifest-1.json", *(it.key for it in newest(trial).files.values())} == objects(trial)


def test_a_put_that_takes_too_long_is_given_up(shared: SharedTrials, folder: Path) -> None:
    with pytest.raises(SharedPlaceError, match="it takes too long now"):
        attempt(shared.trial(7), folder, 1).put(lambda: True)
    assert shared.trial(7).newest() is None


def test_a_put_that_was_cut_off_is_gone_on_with_and_leaves_nothing(
    shared: SharedTrials, folder: Path
) -> None:
    trial = shared.trial(7)
    ours = attempt(trial, folder, 1)
    ours.put()
    before = objects(trial)
    (folder / "later.pt").write_bytes(os.urandom(20_000_000))
    (folder / "later.pt").replace(folder / "checkpoint.pt")
    (folder / "history.jsonl").write_text("one\ntwo\n")
    chunks = iter([False] * -(-20_000_000 // CHUNK_BYTES))  # of the checkpoint
    with pytest.raises(SharedPlaceError, match="it takes too long now"):
        ours.put(lambda: next(chunks, True))
    (checkpoint,) = (key for key in objects(trial) - before if key.startswith("checkpoint.pt~"))
    ours.put()
    named = {stored.key for stored in newest(trial).files.values()}
    assert checkpoint in named
    assert objects(trial) == {"manifest-1.json"} | named


def test_who_lost_a_trial_changes_nothing_for_its_new_owner(
    shared: SharedTrials, folder: Path, tmp_path: Path
) -> None:
    trial, other = shared.trial(7), tmp_path / "other"
    mine, owner = attempt(trial, folder, 1), attempt(trial, other, 2)
    mine.put()
    trial.bring(newest(trial), other)
    (other / "history.jsonl").write_text("one\nits second\n")
    # The old owner, asleep meanwhile, puts another checkpoint: before, and after the new one.
    for turn in range(2):
        (folder / "checkpoint.pt").unlink()
        (folder / "checkpoint.pt").write_bytes(b"mine %d" % turn)
        mine.put()
        owner.put()
        third = tmp_path / f"third{turn}"
        trial.bring(newest(trial), third)
        assert content(third)["history.jsonl"] == b"one\nits second\n"
        assert content(third)["checkpoint.pt"] == content(other)["checkpoint.pt"]
    with pytest.raises(LeaseLostError):
        attempt(trial, folder, 1).put()

    def lost() -> None:
        raise LeaseLostError("gone")

    with pytest.raises(LeaseLostError, match="gone"):
        Attempt(trial, folder, 3, lost).put()
    assert newest(trial).attempt == 2
    attempt(trial, other, 4).put()
    named = {it.key for it in newest(trial).files.values()}
    assert objects(trial) == {"manifest-4.json", *named}  # of none before


def test_a_damaged_object_is_refused(shared: SharedTrials, folder: Path, tmp_path: Path) -> None:
    trial, other = shared.trial(7), tmp_path / "other"
    other.mkdir()
    (other / "checkpoint.pt").write_bytes(b"of this disk")
    attempt(trial, folder, 1).put()
    put = newest(trial)
    key = f"{trial.path}/{put.files['history.jsonl'].key}"
    shared.place.write(key, b"no\n")
    with pytest.raises(SharedPlaceError, match=r"history\.jsonl~1\.[0-9a-f]+ is damaged"):
        trial.bring(put, other)
    shared.place.remove([key])
    with pytest.raises(DamagedError, match=r"history\.jsonl~1\.[0-9a-f]+ is gone$"):
        trial.bring(put, other)
    assert content(other) == {"checkpoint.pt": b"of this disk"}
    evil = put.text().replace("history.jsonl", "../history.jsonl")
    for text in ("{}", evil):
        shared.place.write(f"{trial.path}/manifest-1.json", text.encode())
        with pytest.raises(SharedPlaceError, match=r"manifest-1\.json is damaged"):
            trial.newest()


def test_a_study_knows_its_own_folder(shared: SharedTrials, tmp_path: Path) -> None:
    store = Store(tmp_path, shared=shared.address)
    one, same = optuna.create_study(study_name="cats"), optuna.create_study(study_name="cats")
    assert SharedTrials.of(store, one) is None
    SharedTrials.begin(store, one)
    SharedTrials.begin(store, same)  # a study of the same name, in another database
    first, second = SharedTrials.of(store, one), SharedTrials.of(store, same)
    assert first
    assert second
    assert first.name != second.name
    first.check()
    second.remove()
    first.check()
    with pytest.raises(SharedPlaceError, match=f"has no folder {second.name} of this study: is it"):
        second.check()


def test_places_that_cannot_be_used(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(address: str) -> str:
        with pytest.raises(SharedPlaceError) as told:
            Place.at(address).check()
        assert "\n" not in str(told.value)
        return str(told.value)

    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    assert refused("s3://no-such-bucket/x").startswith("cannot write to s3://no-such-bucket/x ")
    (tmp_path / "file").write_text("")
    assert "NotADirectoryError" in refused(str(tmp_path / "file" / "shared"))
    assert refused("abfs://container/x").endswith(
        "Install adlfs to access Azure Datalake Gen2 and Azure Blob Storage"
    )
    assert "Protocol not known: nope" in refused("nope://x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    assert "EndpointConnectionError" in refused("s3://bucket/x")
    for name in server.variables:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.address)
    assert "credentials" in refused("s3://bucket/x").lower()


def test_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert check_shared_address("shared") == str(tmp_path / "shared")
    assert check_shared_address(f"file://{tmp_path}/shared") == str(tmp_path / "shared")
    assert check_shared_address("s3://bucket/folder/") == "s3://bucket/folder"
    with pytest.raises(UsageError, match="names no bucket"):
        check_shared_address("s3://")
    for secret in ("ftp://me:secret@host/x", "s3://KEY:se/cret@b", "http://h/x?sig=secret"):
        with pytest.raises(UsageError, match=r"has a password or a query in it") as told:
            check_shared_address(secret)
        assert "secret" not in str(told.value).replace("AWS_SECRET", "")
    with pytest.raises(UsageError, match=r"did you mean s3://bucket/x\?"):
        check_shared_address("s3:/bucket/x")
    azure = "abfs://container@account.dfs.core.windows.net/x"
    assert check_shared_address(azure) == azure
    monkeypatch.setenv("DCGAN_STUDY_ARTIFACTS", "s3://bucket")
    assert Store.at(tmp_path).shared == "s3://bucket"
