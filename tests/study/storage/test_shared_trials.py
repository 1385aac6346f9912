"""Trials' folders in a place that all machines reach: a folder, and a server that speaks S3."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from benchmarks.lib.servers import S3Server, free_port
from dcgan.errors import UsageError
from study.errors import SharedPlaceError
from study.storage.addresses import check_shared_address
from study.storage.shared_trials import KNOWN, Place, SharedTrial, SharedTrials, changed
from study.storage.store import Store


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
    (made / ".delivered_to_mlflow.json").write_text("[]")
    return made


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != KNOWN)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def objects(trial: SharedTrial) -> set[str]:
    return set(trial.place.names(trial.path))


def test_a_folder_comes_as_it_was_put(shared: SharedTrials, folder: Path, tmp_path: Path) -> None:
    shared.check()
    trial = shared.trial(7)
    assert trial.newest() is None
    put = trial.put(folder, 5)
    assert trial.newest() == put
    assert (put.attempt, put.count) == (5, 1)
    other = tmp_path / "other"
    other.mkdir()
    (other / "left.txt").write_text("of an earlier try")
    trial.bring(put, other)
    there = content(folder)
    there.pop(".delivered_to_mlflow.json")  # is of this disk
    assert content(other) == there
    assert not changed(other)
    assert not changed(folder)
    # What came goes back without being sent again.
    again = trial.put(other, 6)
    assert again.files == put.files
    assert trial.newest() == again


def test_only_what_changed_is_sent_and_what_nothing_names_is_removed(
    shared: SharedTrials, folder: Path
) -> None:
    trial = shared.trial(7)
    first = trial.put(folder, 5)
    assert first.files["best.pt"] == first.files["checkpoint.pt"]  # two names of one file
    weights = first.files["checkpoint.pt"].key
    others = {"history.jsonl~5.1", "samples/step_000001.png~5.1", "manifest-5.json"}
    assert objects(trial) == {weights, *others}
    (folder / "history.jsonl").write_text("one\ntwo\n")
    fresh = folder / "fresh"
    fresh.write_bytes(b"later")
    fresh.replace(folder / "checkpoint.pt")
    assert changed(folder)
    second = trial.put(folder, 5)
    assert second.files["best.pt"] == first.files["best.pt"]
    assert second.files["checkpoint.pt"].key == "checkpoint.pt~5.2"
    kept = {stored.key for stored in second.files.values()}
    assert objects(trial) == {*kept, "manifest-5.json"}
    trial.drop_checkpoints()
    assert not any(".pt" in name for name in objects(trial))
    newest = trial.newest()
    assert newest is not None
    assert newest.checkpoint is None
    assert set(newest.files) == {"history.jsonl", "samples/step_000001.png"}
    shared.remove()
    assert objects(trial) == set()
    shared.remove()  # nothing to do


def test_a_reader_finds_the_folder_before_if_a_put_is_cut_off(
    shared: SharedTrials, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = shared.trial(7)
    before = trial.put(folder, 5)
    then = content(folder)
    (folder / "history.jsonl").write_text("one\ntwo\n")

    def cut(place: Place, key: str, content: bytes) -> None:
        raise place.fault("write to", "the cable is out")

    with monkeypatch.context() as patch:
        patch.setattr(Place, "write", cut)
        with pytest.raises(SharedPlaceError, match=r"cannot write to .*the cable is out; check"):
            trial.put(folder, 5)
    assert trial.newest() == before
    trial.bring(before, tmp_path / "other")
    assert content(tmp_path / "other")["history.jsonl"] == then["history.jsonl"]
    assert changed(folder)  # it is put the next time
    assert trial.put(folder, 5).count == 2


def test_who_lost_a_trial_does_not_change_what_others_find(
    shared: SharedTrials, folder: Path, tmp_path: Path
) -> None:
    trial, other = shared.trial(7), tmp_path / "other"
    trial.bring(trial.put(folder, 5), other)
    (other / "history.jsonl").write_text("one\nits second\n")
    newest = trial.put(other, 6)
    assert "manifest-5.json" not in objects(trial)
    (folder / "history.jsonl").write_text("one\nmy second\n")
    trial.put(folder, 5)  # asleep meanwhile
    assert trial.newest() == newest
    trial.bring(newest, tmp_path / "third")
    assert content(tmp_path / "third")["history.jsonl"] == b"one\nits second\n"
    (other / "history.jsonl").write_text("one\nits second\nits third\n")
    assert trial.put(other, 6) == trial.newest()


def test_a_damaged_object_is_refused(shared: SharedTrials, folder: Path, tmp_path: Path) -> None:
    trial = shared.trial(7)
    put = trial.put(folder, 5)
    key = f"{trial.path}/{put.files['history.jsonl'].key}"
    shared.place.write(key, b"no\n")
    with pytest.raises(SharedPlaceError, match=r"history\.jsonl~5\.1 is damaged"):
        trial.bring(put, tmp_path / "other")
    assert not (tmp_path / "other" / "checkpoint.pt").exists()
    shared.place.remove([key])
    with pytest.raises(SharedPlaceError, match="FileNotFoundError"):
        trial.bring(put, tmp_path / "other")
    shared.place.write(f"{trial.path}/manifest-5.json", b"{}")
    with pytest.raises(SharedPlaceError, match=r"manifest-5\.json is damaged"):
        trial.newest()


def test_places_that_cannot_be_used(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(address: str) -> str:
        with pytest.raises(SharedPlaceError) as told:
            SharedTrials(address, "tiny").check()
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
    with pytest.raises(UsageError, match=r"ftp://me:\*\*\*@host/x' has a user or password in it"):
        check_shared_address("ftp://me:secret@host/x")
    monkeypatch.setenv("DCGAN_STUDY_ARTIFACTS", "s3://bucket")
    assert Store.at(tmp_path).shared == "s3://bucket"
    assert SharedTrials.of(Store(tmp_path), "tiny") is None
