"""What release 0.1 wrote opens with today's code: run folders, checkpoints, databases.

The archive is a run folder and a results folder as that release left them;
`data/make_old_store.py` says what they hold and how they were made.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from ready import Ready

from dcgan.config.settings import load_train_config
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import read_evals, read_logs

ARCHIVE = Path(__file__).parent / "data" / "release-0.1.tar.xz"
Command = Callable[..., str]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive's content. Only to be read."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def run(unpacked: Path, tmp_path: Path) -> RunFolder:
    """The old run, to be changed."""
    return RunFolder(Path(shutil.copytree(unpacked / "run", tmp_path / "run")))


@pytest.fixture
def command(programs: Ready, tmp_path: Path) -> Command:
    """Run a command that succeeds, and return what it prints."""

    def call(name: str, *arguments: object) -> str:
        program = [str(programs.folder / name), *map(str, arguments)]
        done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


def test_an_old_checkpoint_generates(run: RunFolder, command: Command, tmp_path: Path) -> None:
    command("dcgan", "generate", run.checkpoint, "-n", 4, "-o", "grid.png")
    with Image.open(tmp_path / "grid.png") as grid:
        assert min(grid.size) >= 64


def test_an_old_checkpoint_scores_as_it_did(run: RunFolder, command: Command) -> None:
    scores = json.loads(command("dcgan", "evaluate", run.checkpoint, "--json"))
    then = read_evals(run.history)[-1].to_dict()
    for key in ("fd_random", "fd_random_ema", "fd_random_raw", "kd_random", "imbalance"):
        assert scores[key] == pytest.approx(then[key], rel=1e-3), key
    assert (scores["step"], scores["n_samples"]) == (6, 64)


def test_an_old_run_continues(run: RunFolder, command: Command) -> None:
    before = run.history.read_text(encoding="utf-8")
    more = ("--out", run.path, "--resume", "--set", "train.epochs=4")
    command("dcgan", "train", run.config, *more)
    assert run.history.read_text(encoding="utf-8").startswith(before)
    assert [record.step for record in read_logs(run.history)] == list(range(1, 13))
    assert [record.epoch for record in read_evals(run.history)] == [1, 2, 3, 4]
    assert json.loads((run.path / "result.json").read_text())["steps"] == 12


# A results folder


class OldStore:
    """The old results folder in its new place."""

    def __init__(self, root: Path, command: Command) -> None:
        self.root, self.command = root, command

    def study(self, *arguments: object) -> str:
        """Run a `study` command on it."""
        return self.command("study", *arguments, "--store", self.root)

    def shown(self, name: str) -> dict[int, Any]:
        """Each trial as `study show --json` prints it."""
        document = json.loads(self.study("show", name, "--json"))
        return {row["number"]: row for row in document["trials"]}

    def config(self, name: str) -> Path:
        """The study's own config."""
        return self.root / "studies" / name / "study.yaml"


@pytest.fixture
def store(unpacked: Path, command: Command, tmp_path: Path) -> OldStore:
    """The old results folder, moved and relocated, to be changed."""
    old = OldStore(Path(shutil.copytree(unpacked / "store", tmp_path / "store")), command)
    assert "artifacts" in old.study("relocate")
    return old


def states(store: OldStore, name: str) -> list[str]:
    return [row["state"] for _, row in sorted(store.shown(name).items())]


TINY = ["COMPLETE", "COMPLETE", "PRUNED", "FAIL", "WAITING"]


def test_old_studies_are_shown(store: OldStore) -> None:
    assert "tiny: 4 of 5 trials finished, best score " in store.study("list")
    assert states(store, "tiny") == TINY
    assert states(store, "front") == ["COMPLETE"] * 2
    tiny, front = store.shown("tiny"), store.shown("front")
    assert [tiny[number]["origin"] for number in (0, 1, 2)] == ["good", "slow", "sampler"]
    for number in (0, 1, 2):
        folder = RunFolder(store.root / "studies" / "tiny" / "trials" / f"trial-{number:03d}")
        last = read_evals(folder.history)[-1]
        assert tiny[number]["score"] == tiny[number]["distances"]["fd_random"] == last.frechet
        assert tiny[number]["imbalance"] == last.imbalance
        assert tiny[number]["params"]["lr_g"] == load_train_config(folder.config).optim.lr_g
    assert tiny[2]["reason"].startswith("hopeless")
    assert tiny[3]["reason"] == "OSError: the disk was away"
    assert any(row["front"] for row in front.values())


def test_an_old_study_is_healthy(store: OldStore) -> None:
    assert "fault" not in store.study("doctor", "tiny")


@pytest.mark.slow
def test_an_old_trial_is_exported_and_trained(
    store: OldStore, command: Command, tmp_path: Path
) -> None:
    store.study("export", "tiny", "-o", tmp_path / "best.yaml")
    best = load_train_config(tmp_path / "best.yaml")
    complete = [row for row in store.shown("tiny").values() if row["state"] == "COMPLETE"]
    assert best.provenance["score"] == min(row["score"] for row in complete)
    assert best.train.epochs == 3
    command("dcgan", "train", tmp_path / "best.yaml", "--out", tmp_path / "best")
    assert read_evals(RunFolder(tmp_path / "best").history)[-1].epoch == 3
    store.study("export", "front", "--pick", "balance", "-o", tmp_path / "front.yaml")
    assert load_train_config(tmp_path / "front.yaml").provenance["picked_by"] == "balance"


@pytest.mark.slow
def test_an_old_study_continues(store: OldStore) -> None:
    """The interrupted trial goes on from its checkpoint, and new trials follow."""
    before = store.shown("tiny")
    folder = RunFolder(store.root / "studies" / "tiny" / "trials" / "trial-004")
    records = folder.history.read_text(encoding="utf-8")
    store.study("run", store.config("tiny"), "--trials", 6)
    after = store.shown("tiny")
    for number in range(4):  # `why` places a trial among all of them
        assert after[number] | {"why": None} == before[number] | {"why": None}
    assert {after[number]["state"] for number in (4, 5)} <= {"COMPLETE", "PRUNED"}
    assert folder.history.read_text(encoding="utf-8").startswith(records)
    steps = [record.step for record in read_logs(folder.history)]
    assert steps == list(range(1, len(steps) + 1))
    store.study("run", store.config("front"), "--trials", 3)
    assert states(store, "front") == ["COMPLETE"] * 3
    assert "fault" not in store.study("doctor", "tiny")


@pytest.mark.slow
def test_an_old_study_is_delivered_to_a_new_mlflow(store: OldStore) -> None:
    assert "0 of 5 trials delivered, 5 were there" in store.study("sync", "tiny")
    (store.root / "mlflow.db").unlink()
    assert "5 of 5 trials delivered, 0 were there" in store.study("sync", "tiny")
