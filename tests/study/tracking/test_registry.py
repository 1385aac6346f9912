"""Generators in MLflow's model registry: registered with evidence, fetched, served."""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from copier import make_copier
from mlflow.tracking import MlflowClient
from PIL import Image

from dcgan import generate
from dcgan.errors import DcganError, RepeatsPhotosError
from dcgan.runtime.children import child_environment
from dcgan.training.run.checkpoint import load_checkpoint
from dcgan.training.run.exported import write_model
from dcgan.training.run.folder import RunFolder
from study.results.full_run import FullRun
from study.results.registered import register_full_run
from study.storage.store import Store
from study.tracking.environment import SETTINGS
from study.tracking.registry import Evidence, fetch, register

Shell = Callable[..., Any]
GOOD = Evidence("fd_imagenet", 600.0, 590.0, 610.0, "network", "photos", 1024)


@pytest.fixture
def model(own_finished: Store, tmp_path: Path) -> Path:
    """An exported generator."""
    files = RunFolder(own_finished.study("tiny").trial(0))
    write_model(load_checkpoint(files.checkpoint), tmp_path / "model", "# A card")
    return tmp_path / "model"


@pytest.mark.slow
def test_the_champion_changes_only_for_more_than_chance(
    own_finished: Store, model: Path, mirror_of: Any
) -> None:
    run = mirror_of(own_finished).runs("trial")[0].info.run_id

    def made(evidence: Evidence, *, force: bool = False) -> tuple[int, bool, str]:
        done = register(own_finished, "tiny", run, model, evidence, force=force)
        return done.number, done.champion, done.why

    assert made(GOOD) == (1, True, "there was none")
    number, wins, why = made(replace(GOOD, value=595, low=585, high=605))
    assert (number, wins) == (2, False)
    assert "more than chance: fd_imagenet 595.0 against 600.0" in why
    for other in (
        replace(GOOD, value=1, high=2, photos="others"),
        replace(GOOD, value=1, high=2, extractor="another"),
        replace(GOOD, value=1, high=2, n_samples=64),
    ):
        assert made(other)[1:] == (
            False,
            "version 1 was scored on other photos, by another extractor or with another number of "
            "images",
        )
    number, wins, why = made(replace(GOOD, value=500, low=490, high=510))
    assert (number, wins) == (6, True)
    assert "beats version 1" in why
    assert made(replace(GOOD, value=900, low=890, high=910), force=True)[1:] == (
        True,
        "it was forced",
    )
    client = MlflowClient(own_finished.mlflow_uri, own_finished.mlflow_uri)
    champion = client.get_model_version_by_alias("tiny", "champion")
    assert int(champion.version) == 7
    assert champion.description == "# A card"
    assert champion.run_id == run
    assert Evidence.from_tags(champion.tags) == replace(GOOD, value=900, low=890, high=910)
    (logged, *_) = client.search_logged_models([mirror_of(own_finished).experiment.experiment_id])
    assert logged.source_run_id == run
    files = [path for path in Path(own_finished.artifacts).rglob("*") if "models" in path.parts]
    assert not [path for path in files if path.suffix in (".pkl", ".pickle", ".pt")]


@pytest.mark.slow
def test_a_registered_model_is_fetched_and_served(
    own_finished: Store, model: Path, mirror_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = mirror_of(own_finished).runs("trial")[0].info.run_id
    register(own_finished, "tiny", run, model, GOOD)
    expected = generate(model, 3, seed=5)
    for reference in ("models:/tiny@champion", "models:/tiny/1"):
        assert torch.equal(generate(fetch(reference, own_finished), 3, seed=5), expected)
    for wrong, said in (
        ("models:/tiny", "write models:/NAME@champion"),
        ("models:/tiny/2", "there is no model models:/tiny/2"),
        ("models:/tiny@best", "there is no model models:/tiny@best"),
        ("models:/none@champion", "there is no model"),
    ):
        with pytest.raises(DcganError, match=said):
            fetch(wrong, own_finished)
    monkeypatch.setenv("DCGAN_STUDY_STORE", str(own_finished.root))
    assert torch.equal(generate("models:/tiny@champion", 3, seed=5), expected)

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    binaries = Path(sys.executable).parent
    environment = child_environment({**SETTINGS, **os.environ}) | {
        "MLFLOW_TRACKING_URI": own_finished.mlflow_uri,
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
    }
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/tiny@champion"]
    command += ["--port", str(port), "--env-manager", "local", "--host", "127.0.0.1"]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        answer = asked(f"http://127.0.0.1:{port}", {"inputs": [{"count": 3, "seed": 5}]}, process)
    finally:
        process.terminate()
        process.communicate(timeout=30)
    pictures = [Image.open(io.BytesIO(base64.b64decode(it))) for it in answer["predictions"]]
    shown = np.stack([np.asarray(picture) for picture in pictures])
    assert np.array_equal(shown, expected.permute(0, 2, 3, 1).numpy())


def asked(address: str, request: Any, process: Any) -> Any:
    """The answer of a served model, once it is ready."""
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(f"{address}/ping", timeout=5):
                break
        except OSError:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline, "the model is not served"
            time.sleep(0.3)
    body = urllib.request.Request(
        f"{address}/invocations",
        data=json.dumps(request).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(body, timeout=60) as reply:
        return json.loads(reply.read())


@pytest.mark.slow
def test_a_model_on_a_server(
    own_finished: Store, model: Path, tracking: Any, mirror_of: Any
) -> None:
    client = MlflowClient(tracking.uri, tracking.uri)
    experiment = client.create_experiment("elsewhere")
    run = client.create_run(experiment).info.run_id
    store = Store(own_finished.root, tracking=tracking.uri)
    assert register(store, "remote", run, model, GOOD).champion
    found = fetch("models:/remote@champion", store)
    assert torch.equal(generate(found, 3, seed=5), generate(model, 3, seed=5))


def test_nothing_is_made_where_there_are_no_results(tmp_path: Path) -> None:
    with pytest.raises(DcganError, match="holds no results"):
        fetch("models:/tiny@champion", Store(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_a_full_run_is_registered(
    own_finished: Store, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = shell("train", "tiny", "--store", own_finished.root).stdout
    assert "registered as version 1 of “tiny”: the champion, because there was none" in said
    # The printed command draws from it, wherever it is typed.
    command = said.partition("draw from it: ")[2].splitlines()[0]
    variable, _, asked = command.partition(" dcgan ")
    name, _, place = variable.partition("=")
    monkeypatch.setenv(name, place)
    assert asked == "generate models:/tiny/1"
    assert generate("models:/tiny/1", 2).shape[0] == 2
    folder = fetch("models:/tiny@champion", own_finished)
    assert not (tmp_path / "mlflow.db").exists()  # MLflow's default database, in the working folder
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "after 4 epochs" in card
    assert "`fd_random`" in card
    # The same again trains nothing, and does not beat itself.
    said = shell("train", "tiny", "--store", own_finished.root).stdout
    assert "version 2 of “tiny”: not the champion" in said
    said = shell("train", "tiny", "--no-register", "--store", own_finished.root).stdout
    assert "registered as" not in said


@pytest.mark.slow
def test_a_generator_that_repeats_photos_is_registered_only_by_force(
    own_finished: Store, shell: Shell, tmp_path: Path
) -> None:
    shell("train", "tiny", "--no-register", "--store", own_finished.root)
    run = FullRun.of(own_finished, "tiny", None, None)
    last = RunFolder(run.folder).checkpoint
    bank = make_copier(last, last, tmp_path / "photos")
    with pytest.raises(RepeatsPhotosError, match="of 64 images repeat a training photo; by chance"):
        register_full_run(run, bank)
    assert not (run.folder / "model").exists()
    made = register_full_run(run, bank, force=True)
    assert (made.number, made.champion) == (1, True)
    folder = fetch("models:/tiny@champion", own_finished)
    assert "It repeats photos" in (folder / "README.md").read_text(encoding="utf-8")
