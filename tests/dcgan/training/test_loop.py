"""A run from beginning to end: what it leaves, and that it repeats and continues bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from disturb import at_step, make_infinite
from PIL import Image
from ready import Ready
from torch import Tensor

from dcgan.api import evaluate
from dcgan.config.settings import load_train_config, override, save_config
from dcgan.config.train_config import TrainConfig
from dcgan.data.bank import PhotoBank, load_bank
from dcgan.errors import (
    CheckpointError,
    DataError,
    TrainingDivergedError,
    TrainingInterrupted,
    UsageError,
)
from dcgan.evaluation.record import EvalRecord
from dcgan.training.loop import TrainResult, train
from dcgan.training.run.checkpoint import check_continues, load_checkpoint
from dcgan.training.run.history import STEP_FIELDS, LogRecord, read_evals, read_history, read_logs

EPOCHS, STEPS = 6, 18  # three steps an epoch


@dataclass
class Run:
    """A finished run and what it called back."""

    config: TrainConfig
    result: TrainResult
    logs: list[LogRecord] = field(default_factory=list)
    evals: list[EvalRecord] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.result.folder


@pytest.fixture(scope="module")
def bank(tiny_config) -> PhotoBank:
    return load_bank(tiny_config().data)


@pytest.fixture(scope="module")
def config(tiny_config) -> TrainConfig:
    return tiny_config(train__epochs=EPOCHS, train__grid_every_steps=7, eval__every_epochs=3)


@pytest.fixture(scope="module")
def straight(config: TrainConfig, bank: PhotoBank, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Six epochs without a break."""
    logs: list[LogRecord] = []
    evals: list[EvalRecord] = []
    result = train(
        config,
        tmp_path_factory.mktemp("straight") / "run",
        bank=bank,
        on_log=logs.append,
        on_eval=lambda record: bool(evals.append(record)),
    )
    return Run(config, result, logs, evals)


def stop_after(steps: int) -> Callable[[], bool]:
    asked = iter(range(1, 10**6))
    return lambda: next(asked) >= steps


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Every leaf of nested mappings and lists, by its path."""
    if isinstance(value, dict):
        pairs: Any = value.items()
    elif isinstance(value, list | tuple):
        pairs = enumerate(value)
    else:
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, item in pairs:
        found |= flat(item, f"{prefix}/{key}")
    return found


def assert_same_state(one: Path, other: Path, *, but: tuple[str, ...] = ("/seconds",)) -> None:
    """Two checkpoints hold the same bits: weights, averages, optimizers, streams, losses."""
    a, b = (
        flat(torch.load(folder / "checkpoint.pt", weights_only=True)) for folder in (one, other)
    )
    assert a.keys() == b.keys()
    assert sum(isinstance(value, Tensor) for value in a.values()) > 60
    different = []
    for key, value in a.items():
        if key.startswith(but):
            continue
        same = torch.equal(value, b[key]) if isinstance(value, Tensor) else value == b[key]
        different += [] if same else [key]
    assert different == []


def every_step(folder: Path) -> list[list[float]]:
    """The losses of all steps as the history has them, in its order: `(steps, 5)`."""
    rows: list[list[float]] = []
    for record in read_logs(folder / "history.jsonl"):
        columns = [record.every_step[name] for name in STEP_FIELDS]
        rows += [list(row) for row in zip(*columns, strict=True)]
        assert len(rows) == record.step  # none twice, none left out
    return rows


def scores(folder: Path) -> list[dict[str, Any]]:
    """The evaluations without what depends on the clock."""
    return [record.scores() for record in read_evals(folder / "history.jsonl")]


def assert_same_run(one: Path, other: Path) -> None:
    assert_same_state(one, other)
    assert every_step(one) == every_step(other)
    assert scores(one) == scores(other)


def test_what_a_run_leaves(straight: Run) -> None:
    names = {str(path.relative_to(straight.folder)) for path in straight.folder.rglob("*.*")}
    grids = {f"samples/step_{step:06d}.png" for step in (0, 7, 9, 14, 18)}
    assert names == grids | {
        "best.pt",
        "checkpoint.pt",
        "config.yaml",
        "history.jsonl",
        "losses.png",
        "networks.txt",
        "real_vs_generated.png",
        "result.json",
        "samples_final.png",
        "training.gif",
        "training_images.png",
    }
    for path in straight.folder.rglob("*.png"):
        with Image.open(path) as picture:
            picture.load()
            assert min(picture.size) > 100
    with Image.open(straight.folder / "training.gif") as animation:
        assert animation.n_frames == 5  # type: ignore[attr-defined]
    assert load_train_config(straight.folder / "config.yaml") == straight.config
    networks = (straight.folder / "networks.txt").read_text()
    assert "ConvTranspose2d(6, 32" in networks
    assert "LeakyReLU(negative_slope=0.1" in networks


def test_the_result_and_its_file(straight: Run) -> None:
    result = straight.result
    assert (result.steps, result.epochs, result.stopped_early) == (STEPS, EPOCHS, False)
    assert result.final == straight.evals[-1]
    assert result.training_seconds > 0
    assert result.images_per_second == pytest.approx(240 / result.training_seconds)
    written = json.loads((straight.folder / "result.json").read_text())
    assert written["final"] == result.final.to_dict()
    assert written["steps"] == STEPS
    assert written["environment"]["threads"] == 1
    assert written["environment"]["device"] == "cpu"
    assert written["environment"]["torch"] == torch.__version__
    assert written["environment"]["code_version"]


def test_the_history_has_every_step_once(straight: Run) -> None:
    records = read_history(straight.folder / "history.jsonl")
    assert [r for r in records if isinstance(r, LogRecord)] == straight.logs
    assert [r for r in records if isinstance(r, EvalRecord)] == straight.evals
    assert [r.step for r in straight.evals] == [9, 18]
    assert [r.epoch for r in straight.evals] == [3, 6]
    times = [r.timestamp for r in records]
    assert times == sorted(times)
    rows = every_step(straight.folder)
    assert len(rows) == STEPS
    assert torch.equal(
        torch.tensor(rows), load_checkpoint(straight.folder / "checkpoint.pt").losses
    )
    for record in straight.logs:
        for name in STEP_FIELDS:
            values = record.every_step[name]
            assert getattr(record, name) == pytest.approx(sum(values) / len(values), rel=1e-6)
        assert record.images_per_second > 0
        assert record.cpu_percent is not None
        assert record.cpu_percent > 0
        assert record.memory_peak_mib is not None
        assert 50 < record.memory_peak_mib < 1e5
        assert record.gpu_memory_peak_mib is None
        assert record.epoch == -(-record.step // 3)


def test_the_same_again_gives_the_same_bits(straight: Run, bank: PhotoBank, tmp_path: Path) -> None:
    torch.manual_seed(7)  # the global stream has no say
    train(straight.config, tmp_path, bank=bank)
    assert_same_run(straight.folder, tmp_path)
    for name in ("samples/step_000000.png", "samples_final.png", "training_images.png"):
        assert (straight.folder / name).read_bytes() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize("stop", [1, 9, 11])
def test_stop_anywhere_and_resume(
    straight: Run, bank: PhotoBank, tmp_path: Path, stop: int
) -> None:
    """After the first step, at the end of epoch 3 (with its score), and in epoch 4's middle."""
    with pytest.raises(TrainingInterrupted, match=f"after step {stop};.*--resume") as caught:
        train(straight.config, tmp_path, bank=bank, should_stop=stop_after(stop))
    assert caught.value.step == stop
    assert load_checkpoint(tmp_path / "checkpoint.pt").step == stop
    assert len(every_step(tmp_path)) == stop
    started: list[int] = []
    train(
        straight.config,
        tmp_path,
        bank=bank,
        resume=True,
        on_start=lambda _schedule, done: started.append(done),
    )
    assert started == [stop]
    assert_same_run(straight.folder, tmp_path)


def test_records_after_the_checkpoint_are_played_again(
    straight: Run, bank: PhotoBank, tmp_path: Path
) -> None:
    """What a crash leaves: records newer than the checkpoint, and half a line."""
    with pytest.raises(TrainingInterrupted):
        train(straight.config, tmp_path, bank=bank, should_stop=stop_after(4))
    old = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(TrainingInterrupted):
        train(straight.config, tmp_path, bank=bank, resume=True, should_stop=stop_after(7))
    assert len(every_step(tmp_path)) == 11
    (tmp_path / "checkpoint.pt").write_bytes(old)
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"kind": "log", "st')
    train(straight.config, tmp_path, bank=bank, resume=True)
    assert_same_run(straight.folder, tmp_path)


def test_a_finished_run_resumed_stays_as_it_is(
    straight: Run, bank: PhotoBank, tmp_path: Path
) -> None:
    train(straight.config, tmp_path, bank=bank)
    before = (tmp_path / "history.jsonl").read_bytes()
    result = train(straight.config, tmp_path, bank=bank, resume=True)
    assert (tmp_path / "history.jsonl").read_bytes() == before
    assert (result.steps, result.stopped_early) == (STEPS, False)
    assert_same_run(straight.folder, tmp_path)


def test_resume_without_a_checkpoint_starts_afresh(
    straight: Run, bank: PhotoBank, tmp_path: Path
) -> None:
    """A run that was killed before its first checkpoint."""
    (tmp_path / "samples").mkdir()
    (tmp_path / "history.jsonl").write_text('{"kind": "log", "step": 3}\n')
    (tmp_path / "samples" / "step_000077.png").write_bytes(b"of another run")
    train(straight.config, tmp_path, bank=bank, resume=True)
    assert_same_run(straight.folder, tmp_path)
    assert not (tmp_path / "samples" / "step_000077.png").exists()


def test_more_epochs_continue_a_finished_run(
    straight: Run, bank: PhotoBank, tmp_path: Path
) -> None:
    train(override(straight.config, {"train.epochs": 3}), tmp_path, bank=bank)
    result = train(straight.config, tmp_path, bank=bank, resume=True)
    assert (result.steps, result.stopped_early) == (STEPS, False)
    assert_same_state(straight.folder, tmp_path)
    assert every_step(straight.folder) == every_step(tmp_path)
    # The last evaluation of the shorter run has scored the last weights as well.
    raw = {"fd_random_raw", "fd_random_raw_low", "fd_random_raw_high", "kd_random_raw"}
    more = scores(tmp_path)
    assert [raw & set(record) for record in more] == [raw, raw]
    for record in more[:-1]:
        assert all(record.pop(name, 1.0) > 0 for name in raw)
    assert scores(straight.folder) == more
    assert load_train_config(tmp_path / "config.yaml").train.epochs == EPOCHS


def test_scoring_does_not_disturb_training(straight: Run, bank: PhotoBank, tmp_path: Path) -> None:
    changed = {
        "eval.every_epochs": 1,
        "eval.n_samples": 32,
        "train.grid_every_steps": 2,
        "train.log_every_steps": 1,
    }
    train(override(straight.config, changed), tmp_path, bank=bank)
    assert_same_state(straight.folder, tmp_path, but=("/seconds", "/config"))
    assert len(scores(tmp_path)) == EPOCHS
    assert every_step(straight.folder) == every_step(tmp_path)


def test_a_true_on_eval_ends_the_run_early(straight: Run, bank: PhotoBank, tmp_path: Path) -> None:
    result = train(straight.config, tmp_path, bank=bank, on_eval=lambda _: True)
    assert (result.steps, result.epochs, result.stopped_early) == (9, 3, True)
    assert result.final.step == 9
    for name in ("samples_final.png", "real_vs_generated.png", "losses.png", "training.gif"):
        assert (tmp_path / name).stat().st_size > 1000
    assert json.loads((tmp_path / "result.json").read_text())["stopped_early"] is True
    assert every_step(tmp_path) == every_step(straight.folder)[:9]


def test_divergence_names_its_step_and_keeps_the_rest(
    straight: Run, bank: PhotoBank, tmp_path: Path
) -> None:
    """The eleventh step finds a discriminator that gives infinite logits."""
    config = override(
        straight.config,
        {
            "train.checkpoint_every_epochs": 2,
            "train.log_every_steps": 100,
            "eval.every_epochs": 0,  # a score brings a checkpoint too
        },
    )
    diverged = pytest.raises(TrainingDivergedError, match=r"step 11 \(epoch 4\)")
    with at_step(11, make_infinite), diverged as caught:
        train(config, tmp_path, bank=bank)
    assert (caught.value.step, caught.value.epoch) == (11, 4)
    assert len(every_step(tmp_path)) == 9  # the intervals that were finite throughout
    checkpoint = load_checkpoint(tmp_path / "checkpoint.pt")
    assert checkpoint.step == 6
    assert every_step(straight.folder)[:6] == checkpoint.losses.tolist()
    assert (tmp_path / "losses.png").exists()
    assert (tmp_path / "samples_final.png").exists()
    assert not (tmp_path / "result.json").exists()
    train(config, tmp_path, bank=bank, resume=True)
    assert every_step(tmp_path) == every_step(straight.folder)


def test_divergence_at_the_first_step(straight: Run, bank: PhotoBank, tmp_path: Path) -> None:
    with at_step(1, make_infinite), pytest.raises(TrainingDivergedError) as caught:
        train(straight.config, tmp_path, bank=bank)
    assert (caught.value.step, caught.value.epoch) == (1, 1)
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"optim.lr_g": 1e-3}, "optim.lr_g was 0.0003, now 0.001"),
        ({"model.nz": 7}, "model.nz was 6, now 7"),
        ({"train.batch_size": 8}, "train.batch_size was 16, now 8"),
        ({"train.seed": 0}, "train.seed was 84, now 0"),
        ({"train.deterministic": False}, "train.deterministic was True, now False"),
        ({"eval.n_samples": 65}, "eval.n_samples was 64, now 65"),
        ({"data.toy_seed": 1}, "data.toy_seed was 0, now 1"),
    ],
)
def test_other_settings_do_not_continue_a_run(
    straight: Run, bank: PhotoBank, changed: dict[str, Any], said: str
) -> None:
    before = {p: p.read_bytes() for p in straight.folder.rglob("*.*")}
    with pytest.raises(CheckpointError) as caught:
        train(override(straight.config, changed), straight.folder, bank=bank, resume=True)
    assert said in str(caught.value)
    assert {p: p.read_bytes() for p in straight.folder.rglob("*.*")} == before


def test_other_photos_do_not_continue_a_run(straight: Run) -> None:
    checkpoint = load_checkpoint(straight.folder / "checkpoint.pt")
    check_continues(checkpoint, straight.config, checkpoint.data_fingerprint, 40)
    with pytest.raises(CheckpointError, match=r"other photos.*fingerprint"):
        check_continues(checkpoint, straight.config, "0" * 64, 40)


def test_a_used_folder_needs_resume(straight: Run, bank: PhotoBank) -> None:
    before = (straight.folder / "history.jsonl").read_bytes()
    with pytest.raises(UsageError, match=r"already holds a run.*--resume"):
        train(straight.config, straight.folder, bank=bank)
    assert (straight.folder / "history.jsonl").read_bytes() == before


def damaged(content: bytes) -> dict[str, bytes]:
    middle = len(content) // 2
    return {
        "empty": b"",
        "cut": content[:middle],
        "text": b"not a checkpoint",
        "zeros inside": content[: middle - 30_000] + bytes(60_000) + content[middle + 30_000 :],
    }


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "zeros inside"])
def test_a_damaged_checkpoint_is_said_to_be_one(
    straight: Run, bank: PhotoBank, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(damaged((straight.folder / "checkpoint.pt").read_bytes())[damage])
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt") as caught:
        train(straight.config, tmp_path, bank=bank, resume=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        {"model": {"weight": torch.zeros(3)}},  # another program's
        [1, 2, 3],
        {"format": 99, "generator": {}},
        {"format": 1, "generator": {}},
        {"format": 1, "generator": {}, "config": {"model": {"depth": 3}}},
    ],
)
def test_foreign_checkpoints(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt"):
        load_checkpoint(path)


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    path = tmp_path / "checkpoint.pt"
    torch.save({"format": 1, "generator": Trap()}, path)
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def test_fewer_photos_than_a_batch(straight: Run, bank: PhotoBank, tmp_path: Path) -> None:
    config = override(straight.config, {"train.batch_size": 41})
    with pytest.raises(DataError, match=r"40 photos.*batch of 41.*at most 40"):
        train(config, tmp_path, bank=bank)
    just_enough = override(straight.config, {"train.batch_size": 40, "train.epochs": 1})
    assert train(just_enough, tmp_path / "other", bank=bank).steps == 1


def test_a_last_batch_of_one_photo(straight: Run, bank: PhotoBank, tmp_path: Path) -> None:
    config = override(straight.config, {"train.batch_size": 39, "train.epochs": 1})
    result = train(config, tmp_path, bank=bank)
    assert result.steps == 2
    assert torch.tensor(every_step(tmp_path)).isfinite().all()


def test_a_file_in_the_way(straight: Run, bank: PhotoBank, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UsageError, match="cannot write results to"):
            train(straight.config, folder, bank=bank)
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_run_leaves_torch_as_it_found_it(straight: Run, bank: PhotoBank, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    assert not torch.are_deterministic_algorithms_enabled()
    seen = []

    def look(_record: Any) -> None:
        seen.append((torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()))

    config = override(straight.config, {"train.epochs": 1, "train.threads": threads + 1})
    train(config, tmp_path, bank=bank, on_log=look)
    assert set(seen) == {(threads + 1, True)}
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_killed_process_continues_bit_for_bit(
    tiny_config, programs: Ready, tmp_path: Path
) -> None:
    """`kill -9` after the first checkpoint of a real `dcgan train`, then resume."""
    epochs = 400
    config = tiny_config(
        train__epochs=epochs,
        train__checkpoint_every_epochs=1,
        train__log_every_steps=4,
        data__toy_count=32,
        train__batch_size=32,
        eval__n_samples=16,
    )
    save_config(config, tmp_path / "long.yaml")
    folder = tmp_path / "run"
    command = ["train", tmp_path / "long.yaml", "--out", folder]
    with (tmp_path / "stderr").open("w") as errors:
        process = programs.start("dcgan", *command, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            give_up = time.monotonic() + 120
            while not (folder / "checkpoint.pt").exists() and time.monotonic() < give_up:
                assert process.poll() is None, (tmp_path / "stderr").read_text()
                time.sleep(0.005)
        finally:
            process.kill()
            assert process.wait() == -signal.SIGKILL
    assert not (folder / "result.json").exists()
    reached = load_checkpoint(folder / "checkpoint.pt").step
    assert 1 <= reached < epochs
    # Not to the end, but well beyond where it was killed.
    config = override(config, {"train.epochs": reached + 20})
    train(config, folder, resume=True)
    train(config, tmp_path / "straight")
    assert_same_run(tmp_path / "straight", folder)


def test_holdout_is_never_trained_on(
    tiny_config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    config = tiny_config(data__holdout_fraction=0.25)
    bank = load_bank(config.data)
    result = train(config, tmp_path / "held", bank=bank)
    record = result.final
    assert (record.n_real, record.n_holdout) == (30, 10)
    assert record.metrics["fd_random_holdout"] > 0
    assert record.metrics["fd_random_trained"] > 0
    # The same as a run that never saw the others: the first quarter of the bank is held out.
    alone = replace(bank, images=bank.images[10:], names=bank.names[10:], sizes=bank.sizes[10:])
    plain = train(tiny_config(), tmp_path / "alone", bank=alone)
    assert every_step(result.folder) == every_step(plain.folder)
    assert plain.final.frechet == record.frechet
    assert "fd_random_holdout" not in plain.final.metrics


def test_too_few_photos_beside_the_holdout(
    tiny_config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    config = tiny_config(data__toy_count=20, data__holdout_fraction=0.4)
    with pytest.raises(DataError, match=r"12 photos \(8 more are held out\) are fewer than one"):
        train(config, tmp_path / "few")
    config = tiny_config(data__holdout_fraction=0.02)
    with pytest.raises(DataError, match="holds out 1, and at least 2 are needed"):
        train(config, tmp_path / "one")


def test_a_history_keeps_its_extractor(
    tiny_config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    config = tiny_config(eval__every_epochs=1, train__epochs=1)
    train(config, tmp_path)
    history = tmp_path / "history.jsonl"
    fingerprint = read_evals(history)[-1].extractor_fingerprint
    history.write_text(history.read_text().replace(fingerprint, "0123456789abcdef"))
    longer = tiny_config(eval__every_epochs=1, train__epochs=2)
    with pytest.raises(CheckpointError, match=r"another extractor \(random, .*0123456789ab; now"):
        train(longer, tmp_path, resume=True)


def test_an_extractor_spelled_differently_continues(
    tiny_config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    train(tiny_config(train__epochs=1), tmp_path)
    checkpoint = load_checkpoint(tmp_path / "checkpoint.pt")
    named = tiny_config(eval__extractor="inception", eval__weights="somewhere.pth")
    check_continues(checkpoint, named, checkpoint.data_fingerprint, 40)  # the history decides
    # Scores by another extractor do not stumble over weights that are only Inception's.
    of_inception = replace(checkpoint, config=named)
    result = evaluate(of_inception, extractor="random")
    assert result.frechet_metric == "fd_random"
