"""What a device can compute in, what `auto` chooses, and that a run keeps it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import dcgan.training.precision
from dcgan.config.settings import load_train_config, override
from dcgan.config.train_config import TrainConfig
from dcgan.data.bank import PhotoBank, load_bank
from dcgan.errors import CheckpointError, TrainingInterrupted, UsageError
from dcgan.training.loop import train
from dcgan.training.precision import (
    check_possible,
    choose,
    continued,
    fastest_precision,
    has_fast_bfloat16,
    remark,
    settle,
)
from dcgan.training.resume import as_begun
from dcgan.training.run.checkpoint import load_checkpoint

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))
Config = Callable[..., TrainConfig]


@pytest.fixture(scope="module")
def bank(tiny_config: Config) -> PhotoBank:
    return load_bank(tiny_config().data)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor with bfloat16 instructions, whatever runs this test."""
    monkeypatch.setattr(dcgan.training.precision, "has_fast_bfloat16", lambda: True)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dcgan.training.precision, "has_fast_bfloat16", lambda: False)


@pytest.mark.parametrize("precision", ["auto", "fp32", "tf32", "bf16"])
@pytest.mark.parametrize("device", [CPU, MPS])
def test_what_computes_the_same_or_slower_is_possible(precision: str, device: torch.device) -> None:
    check_possible(precision, device)


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize(
    ("precision", "device", "told"),
    [
        ("fp32", CPU, ""),
        ("auto", CPU, ""),
        ("tf32", CPU, "tf32, which this cpu device lacks: it computes fp32"),
        ("tf32", MPS, "tf32, which this mps device lacks: it computes fp32"),
        ("bf16", CPU, "bf16, which is slower than fp32 on this processor"),
    ],
)
def test_remarks(precision: str, device: torch.device, told: str) -> None:
    assert remark(precision, device) == (told and f"train.precision is {told}")


@pytest.mark.usefixtures("fast")
def test_no_remark_about_a_fast_processor() -> None:
    assert remark("bf16", CPU) == ""


def test_old_gpus_have_no_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla P100")
    for capability in ((6, 0), (7, 5)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)
        with pytest.raises(UsageError, match="is bf16, which the GPU Tesla P100 lacks"):
            check_possible("bf16", CUDA)
        assert "tf32, which this cuda device lacks" in remark("tf32", CUDA)
        assert choose(TrainConfig(), CUDA).precision == "fp32"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    check_possible("bf16", CUDA)
    assert remark("tf32", CUDA) == ""
    assert choose(TrainConfig(), CUDA).precision == "tf32"


@pytest.mark.parametrize(
    ("asked", "begun", "device", "kept"),
    [
        ("auto", "bf16", CPU, "bf16"),
        ("auto", "tf32", CPU, "tf32"),  # the default of the release before
        ("fp32", "tf32", CPU, "tf32"),
        ("tf32", "fp32", CPU, "fp32"),
        ("fp32", "bf16", CPU, "fp32"),  # refused by the caller
        ("fp32", "tf32", CUDA, "fp32"),
        ("auto", "tf32", CUDA, "tf32"),
    ],
)
def test_a_continued_run_keeps_its_precision(
    asked: str, begun: str, device: torch.device, kept: str
) -> None:
    assert continued(asked, begun, device) == kept


@pytest.mark.parametrize(
    ("fp32", "bf16", "chosen"),
    [
        ([100, 90, 95], [170, 180, 160], "bf16"),
        ([100, 90, 95], [104, 96, 99], "fp32"),  # too little
        ([100, 20, 95], [170, 140, 15], "bf16"),  # two slow moments
        ([100, 90, 20], [60, 50, 140], "fp32"),
    ],
)
def test_auto_takes_what_is_clearly_faster(fp32: list[int], bf16: list[int], chosen: str) -> None:
    left = {"fp32": list(fp32), "bf16": list(bf16)}

    def measure(config: TrainConfig) -> float:
        assert config.train.threads == 3
        return left[config.train.precision].pop(0)

    config = override(TrainConfig(), {"train.threads": 3}, "threads")
    found = fastest_precision(config, measure)
    assert found.precision == chosen
    assert found.rates == {"fp32": max(fp32), "bf16": max(bf16)}
    assert left == {"fp32": [], "bf16": []}


@pytest.mark.usefixtures("slow")
def test_a_processor_without_bfloat16_is_not_measured(tiny_config: Config) -> None:
    choice = choose(tiny_config(train__precision="auto"), CPU)
    assert str(choice) == "train.precision is fp32, because this processor has no fast bfloat16"
    assert choice.rates == {}
    settled, made = settle(tiny_config(train__precision="auto"), CPU)
    assert (settled.train.precision, made) == ("fp32", choice)
    named = tiny_config(train__precision="bf16")
    assert settle(named, CPU) == (named, None)


@pytest.mark.usefixtures("fast")
def test_several_processes_measure_nothing(tiny_config: Config) -> None:
    choice = choose(tiny_config(train__precision="auto"), CPU, alone=False)
    assert (choice.precision, choice.rates) == ("fp32", {})


@pytest.mark.slow
def test_measures_for_real(tiny_config: Config) -> None:
    choice = choose(tiny_config(train__precision="auto"), CPU)
    assert set(choice.rates) == ({"fp32", "bf16"} if has_fast_bfloat16() else set())
    assert all(rate > 0 for rate in choice.rates.values())
    assert choice.precision in ("fp32", "bf16")


def test_the_product_measures_with_one_thread_and_restores_the_rest() -> None:
    before = torch.get_num_threads()
    has_fast_bfloat16.cache_clear()
    assert has_fast_bfloat16() in (True, False)
    assert torch.get_num_threads() == before


def test_the_published_recipe_is_float32_and_the_default() -> None:
    assert load_train_config("reference", {}).train.precision == "fp32"
    assert TrainConfig().train.precision == "fp32"


class Stop:
    """Asks to stop after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_a_bfloat16_run_continues_bit_for_bit(
    tiny_config: Config, bank: PhotoBank, tmp_path: Path
) -> None:
    config = tiny_config(train__precision="bf16")
    train(config, tmp_path / "straight", bank=bank)
    with pytest.raises(TrainingInterrupted):
        train(config, tmp_path / "cut", bank=bank, should_stop=Stop(2))
    auto = override(config, {"train.precision": "auto"}, "auto")
    assert as_begun(auto, tmp_path / "cut").train.precision == "bf16"
    train(auto, tmp_path / "cut", bank=bank, resume=True)
    straight, cut = (
        load_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("straight", "cut")
    )
    assert torch.equal(straight.losses, cut.losses)
    assert cut.config.train.precision == "bf16"
    for name in ("generator", "discriminator", "ema"):
        for key, value in straight.state[name].items():
            assert torch.equal(value, cut.state[name][key]), (name, key)


def test_another_precision_does_not_continue_a_run(
    tiny_config: Config, bank: PhotoBank, tmp_path: Path
) -> None:
    train(tiny_config(train__precision="bf16"), tmp_path / "run", bank=bank)
    longer = tiny_config(train__epochs=3)
    with pytest.raises(CheckpointError, match=r"train\.precision was bf16, now fp32"):
        train(longer, tmp_path / "run", bank=bank, resume=True)
