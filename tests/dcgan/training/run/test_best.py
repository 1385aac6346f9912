"""`best.pt`: which evaluation is the best, and that its checkpoint is kept bit for bit."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dcgan.api import evaluate, generate
from dcgan.cli.display import describe_result
from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig
from dcgan.data.bank import PhotoBank, load_bank
from dcgan.errors import CheckpointError, TrainingInterrupted, UsageError
from dcgan.evaluation.record import EvalRecord
from dcgan.runtime.files import is_temporary, link_atomic
from dcgan.training.loop import TrainResult, train
from dcgan.training.run.best import Best, Rank
from dcgan.training.run.checkpoint import load_checkpoint
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import read_evals
from dcgan.training.run.size import checkpoint_bytes, checkpoints_kept, kept_bytes, run_bytes
from dcgan.training.schedule import Schedule

EPOCHS, STEPS = 4, 3  # of each epoch
ORDER = {1: 2.0, 2: 1.0, 3: 1.0, 4: 3.0}
"""Epoch → rank: the second is the best; the third is as good, and later."""


def by_epoch(record: EvalRecord) -> float:
    return ORDER[record.epoch]


def weights(path: Path) -> dict[str, Tensor]:
    state = load_checkpoint(path).state
    return {
        f"{part}/{key}": item for part in ("generator", "ema") for key, item in state[part].items()
    }


def assert_same_weights(one: Path, other: Path) -> None:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    assert [key for key in a if not torch.equal(a[key], b[key])] == []


@dataclass
class Watched:
    """A run of four epochs, and copies of its checkpoints, made at each evaluation."""

    config: TrainConfig
    result: TrainResult
    copies: dict[int, Path]
    names: dict[int, int]
    """Epoch → number of names of the checkpoint just then."""

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.result.folder)


@pytest.fixture(scope="module")
def bank(tiny_config: Any) -> PhotoBank:
    return load_bank(tiny_config().data)


@pytest.fixture(scope="module")
def config(tiny_config: Any) -> TrainConfig:
    return tiny_config(
        train__epochs=EPOCHS,
        eval__every_epochs=1,
        eval__extractor="layout",
        eval__n_samples=32,
        eval__select="last",
    )


@pytest.fixture(scope="module")
def straight(
    config: TrainConfig, bank: PhotoBank, tmp_path_factory: pytest.TempPathFactory
) -> Watched:
    place = tmp_path_factory.mktemp("straight")
    folder, copies, names = RunFolder(place / "run"), dict[int, Path](), dict[int, int]()

    def on_eval(record: EvalRecord) -> bool:
        copies[record.epoch] = Path(shutil.copy(folder.checkpoint, place / f"{record.epoch}.pt"))
        names[record.epoch] = folder.checkpoint.stat().st_nlink
        return False

    result = train(config, folder.path, bank=bank, on_eval=on_eval, rank=by_epoch)
    return Watched(config, result, copies, names)


def test_the_best_is_kept_bit_for_bit(straight: Watched) -> None:
    folder, result = straight.folder, straight.result
    assert (result.best.epoch, result.final.epoch, result.selected) == (2, 4, result.final)
    assert folder.best.read_bytes() == straight.copies[2].read_bytes()
    assert folder.checkpoint.read_bytes() == straight.copies[4].read_bytes()
    assert straight.names == {1: 2, 2: 2, 3: 1, 4: 1}  # one file as long as the last is the best
    written = json.loads(folder.result.read_text())
    assert written["best"] == result.best.to_dict()
    assert (written["select"], written["selected_epoch"], written["notes"]) == ("last", 4, [])


def test_the_best_scores_again_as_it_did(straight: Watched, bank: PhotoBank) -> None:
    record = evaluate(straight.folder.best, bank=bank)
    assert (record.step, record.epoch) == (2 * STEPS, 2)
    for name in (record.frechet_metric, record.kernel_metric):
        assert record.metrics[name] == pytest.approx(straight.result.best.metrics[name], rel=1e-4)


def test_the_lowest_distance_is_the_best_unless_told_otherwise(
    config: TrainConfig, bank: PhotoBank, tmp_path: Path
) -> None:
    result = train(config, tmp_path, bank=bank)
    lowest = min(read_evals(tmp_path / "history.jsonl"), key=lambda record: record.frechet)
    assert result.best == lowest
    assert load_checkpoint(tmp_path / "best.pt").step == lowest.step


@pytest.mark.parametrize("stop", [5, 6, 10])
def test_a_resumed_run_keeps_the_same_best(
    straight: Watched, bank: PhotoBank, tmp_path: Path, stop: int
) -> None:
    """Stopped before the best evaluation, with it, and after a later one."""
    steps = iter(range(1, 100))
    with pytest.raises(TrainingInterrupted):
        train(
            straight.config,
            tmp_path,
            bank=bank,
            rank=by_epoch,
            should_stop=lambda: next(steps) >= stop,
        )
    result = train(straight.config, tmp_path, bank=bank, rank=by_epoch, resume=True)
    assert (result.best.epoch, result.notes) == (2, ())
    assert load_checkpoint(tmp_path / "best.pt").step == 2 * STEPS
    assert_same_weights(tmp_path / "best.pt", straight.folder.best)
    assert_same_weights(tmp_path / "checkpoint.pt", straight.folder.checkpoint)


def left_at(straight: Watched, place: Path, epoch: int, best: int | None) -> RunFolder:
    """The run as it was on the disk after an epoch, with the `best.pt` of another."""
    folder = RunFolder(place / "left")
    folder.create()
    lines = straight.folder.history.read_text().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["step"] <= epoch * STEPS]
    folder.history.write_text("".join(kept))
    shutil.copy(straight.copies[epoch], folder.checkpoint)
    if best is not None:
        shutil.copy(straight.copies[best], folder.best)
    return folder


def continued(straight: Watched, folder: RunFolder, bank: PhotoBank) -> TrainResult:
    return train(straight.config, folder.path, bank=bank, rank=by_epoch, resume=True)


def test_a_kill_between_checkpoint_and_link_is_repaired(
    straight: Watched, bank: PhotoBank, tmp_path: Path
) -> None:
    folder = left_at(straight, tmp_path, epoch=2, best=1)
    best = Best(folder, by_epoch)
    best.resume(2 * STEPS)
    assert best.record == straight.result.best
    assert folder.best.samefile(folder.checkpoint)
    folder = left_at(straight, tmp_path / "again", epoch=2, best=1)
    assert continued(straight, folder, bank).best.epoch == 2
    assert_same_weights(folder.best, straight.folder.best)


def test_a_kill_after_a_worse_evaluation_changes_nothing(
    straight: Watched, bank: PhotoBank, tmp_path: Path
) -> None:
    folder = left_at(straight, tmp_path, epoch=4, best=2)
    before = folder.best.read_bytes()
    result = continued(straight, folder, bank)
    assert (result.best.epoch, result.notes) == (2, ())
    assert folder.best.read_bytes() == before


@pytest.mark.parametrize("lost", ["missing", "damaged"])
def test_without_its_checkpoint_the_best_is_among_the_later_ones(
    straight: Watched, bank: PhotoBank, tmp_path: Path, lost: str
) -> None:
    """A run folder of an earlier release, or one in which the file was removed."""
    folder = left_at(straight, tmp_path, epoch=3, best=None)
    if lost == "damaged":
        folder.best.write_bytes(b"not a checkpoint")
    result = continued(straight, folder, bank)
    assert result.best.epoch == 3  # as good as epoch 2: nothing is lost
    assert result.notes == ()
    assert_same_weights(folder.best, straight.copies[3])
    folder = left_at(straight, tmp_path / "again", epoch=4, best=None)
    result = continued(straight, folder, bank)
    assert result.best.epoch == 4
    (note,) = result.notes
    assert "epoch 2 scored better than epoch 4" in note
    assert str(folder.best) in note
    assert json.loads(folder.result.read_text())["notes"] == [note]


def test_a_best_checkpoint_alone_is_never_overwritten(
    straight: Watched, bank: PhotoBank, tmp_path: Path
) -> None:
    shutil.copy(straight.folder.best, tmp_path / "best.pt")
    before = (tmp_path / "best.pt").read_bytes()
    with pytest.raises(UsageError, match="already holds a run"):
        train(straight.config, tmp_path, bank=bank)
    with pytest.raises(CheckpointError, match=r"best.pt but no checkpoint.pt .* move it away"):
        train(straight.config, tmp_path, bank=bank, resume=True)
    assert (tmp_path / "best.pt").read_bytes() == before


def test_a_deleted_history_is_scored_again(
    straight: Watched, bank: PhotoBank, tmp_path: Path
) -> None:
    folder = left_at(straight, tmp_path, epoch=4, best=2)
    folder.history.unlink()
    result = continued(straight, folder, bank)
    assert (result.best, result.best.epoch) == (result.final, 4)
    assert folder.best.samefile(folder.checkpoint)


# Which one counts


def test_the_best_can_count(straight: Watched, bank: PhotoBank, tmp_path: Path) -> None:
    """Also from one launch to the next: no step depends on it."""
    config = override(straight.config, {"eval.select": "best"})
    folder = left_at(straight, tmp_path, epoch=3, best=2)
    result = train(config, folder.path, bank=bank, rank=by_epoch, resume=True)
    assert (result.selected.epoch, result.best.epoch, result.final.epoch) == (2, 2, 4)
    assert json.loads(folder.result.read_text())["selected_epoch"] == 2
    assert_same_weights(folder.checkpoint, straight.folder.checkpoint)
    # The closing pictures show the generator of best.pt, those of the other run the last one.
    other = straight.folder
    assert torch.equal(generate(folder.best), generate(other.best))
    for name in ("samples_final.png", "real_vs_generated.png"):
        assert (folder.path / name).read_bytes() != (other.path / name).read_bytes()
    again = override(straight.config, {"eval.select": "last"})
    train(again, folder.path, bank=bank, rank=by_epoch, resume=True)
    for name in ("samples_final.png", "real_vs_generated.png"):
        assert (folder.path / name).read_bytes() == (other.path / name).read_bytes()


@pytest.mark.parametrize("model", ["ema", "raw"])
def test_the_closing_picture_is_drawn_from_best_pt(
    straight: Watched, bank: PhotoBank, tmp_path: Path, model: str
) -> None:
    """At the best epoch's end, the generator in memory draws the same picture."""
    settings = {"eval.select": "best", "eval.score_model": model}
    config = override(straight.config, settings)
    train(config, tmp_path / "four", bank=bank, rank=by_epoch)
    short = override(config, {"train.epochs": 2, "eval.select": "last"})
    train(short, tmp_path / "two", bank=bank, rank=by_epoch)
    drawn = [(tmp_path / run / "samples_final.png").read_bytes() for run in ("four", "two")]
    assert drawn[0] == drawn[1]


def test_the_closing_lines(straight: Watched) -> None:
    result, folder = straight.result, straight.folder
    last, best = describe_result(result).splitlines()
    assert last.startswith("last score: epoch 4: fd_layout ")
    assert last.endswith(f"; {folder.checkpoint}")
    assert best.startswith("best score: epoch 2: fd_layout ")
    assert best.endswith(f"; {folder.best}")
    counts = replace(result, select="best")
    assert describe_result(counts).splitlines()[1].endswith("best.pt, shown in the pictures")
    assert describe_result(replace(result, best=result.final)) == last


# The link


def test_a_copy_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    source, path = tmp_path / "source", tmp_path / "path"
    source.write_bytes(b"new")
    path.write_bytes(b"old")
    link_atomic(source, path)
    assert path.samefile(source)
    link_atomic(source, path)  # once more: nothing is left behind
    source.with_name("other").write_bytes(b"newer")
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    link_atomic(tmp_path / "other", path)
    assert path.read_bytes() == b"newer"
    assert path.stat().st_nlink == 1
    assert source.read_bytes() == b"new"
    assert {file.name for file in tmp_path.iterdir()} == {"source", "path", "other"}


def test_links_of_a_person_stay(tmp_path: Path) -> None:
    """`checkpoint.pt` and `best.pt` may be symbolic links to another folder."""
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "last").write_bytes(b"new")
    (tmp_path / "checkpoint.pt").symlink_to(tmp_path / "big" / "last")
    (tmp_path / "best.pt").symlink_to(tmp_path / "big" / "best")
    link_atomic(tmp_path / "checkpoint.pt", tmp_path / "best.pt")
    assert (tmp_path / "best.pt").is_symlink()
    assert not (tmp_path / "big" / "best").is_symlink()
    assert (tmp_path / "big" / "best").samefile(tmp_path / "big" / "last")


def test_what_cannot_be_kept_is_said(straight: Watched, tmp_path: Path) -> None:
    folder = left_at(straight, tmp_path, epoch=2, best=None)
    folder.best.mkdir()  # in the way
    best = Best(folder, by_epoch)
    with pytest.raises(CheckpointError, match=r"cannot write the checkpoint \S+best\.pt: Is a dir"):
        best.consider(straight.result.best)
    assert best.record is None
    assert not [path for path in folder.path.iterdir() if is_temporary(path.name)]


# What it takes


def test_the_space_of_a_run(straight: Watched, bank: PhotoBank) -> None:
    config = straight.config
    schedule = Schedule(config, len(bank.images), torch.device("cpu"))
    one = checkpoint_bytes(config, schedule.total_steps)
    rest = kept_bytes(config, schedule, schedule.grid_due)
    assert checkpoints_kept(schedule) == 2
    assert run_bytes(config, schedule) == pytest.approx(3 * one + rest)
    once = Schedule(override(config, {"eval.every_epochs": 0}), 40, torch.device("cpu"))
    assert checkpoints_kept(once) == 1  # the last evaluation is the best
    assert run_bytes(once.config, once) < 3 * one + rest - 0.9 * one


def test_a_missing_best_is_not_said_to_be_removed(straight: Watched, tmp_path: Path) -> None:
    """An older run has none, but has its checkpoint."""
    folder = left_at(straight, tmp_path, epoch=4, best=None)
    shutil.copy(straight.folder.config, folder.config)
    with pytest.raises(CheckpointError, match=r"^there is no checkpoint \S+best\.pt$"):
        load_checkpoint(folder.best)
    folder.checkpoint.unlink()
    with pytest.raises(CheckpointError, match=r"best\.pt any more;.*to save space"):
        load_checkpoint(folder.best)


def test_ranks_are_asked_for_as_documented() -> None:
    """The earlier of two equal evaluations stays, without a file being touched."""
    rank: Rank = by_epoch
    best = Best(RunFolder(Path("/nowhere")), rank)
    best.record = EvalRecord(epoch=2)
    best.consider(EvalRecord(epoch=3))
    assert best.record.epoch == 2
