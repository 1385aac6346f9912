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
    continued,
    fastest_precision,
    has_fast_bfloat16,
    with_chosen_precision,
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


@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16"])
@pytest.mark.parametrize("device", [CPU, MPS])
def test_possible(precision: str, device: torch.device) -> None:
    check_possible(precision, device)


@pytest.mark.parametrize("device", [CPU, MPS])
def test_tf32_needs_a_cuda_gpu(device: torch.device) -> None:
    message = rf"train\.precision is tf32.* train\.device is {device}; use fp32"
    with pytest.raises(UsageError, match=message):
        check_possible("tf32", device)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_old_gpus_have_float32_alone(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla P100")
    for capability in ((6, 0), (7, 5)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)
        with pytest.raises(UsageError, match=f"{precision}, which the GPU Tesla P100 lacks"):
            check_possible(precision, CUDA)
        assert fastest_precision(TrainConfig(), CUDA) == ("fp32", {})
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    check_possible(precision, CUDA)
    assert fastest_precision(TrainConfig(), CUDA) == ("tf32", {})


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


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize(
    ("rates", "chosen"),
    [
        ({"fp32": [100, 90], "bf16": [170, 180]}, "bf16"),
        ({"fp32": [100, 90], "bf16": [104, 102]}, "fp32"),  # too little
        ({"fp32": [100, 90], "bf16": [60, 140]}, "bf16"),  # a slow moment
        ({"fp32": [100, 90], "bf16": [40, 40]}, "fp32"),
    ],
)
def test_auto_takes_what_is_clearly_faster(rates: dict[str, list[float]], chosen: str) -> None:
    left = {name: list(values) for name, values in rates.items()}

    def measure(config: TrainConfig) -> float:
        return left[config.train.precision].pop(0)

    found = fastest_precision(TrainConfig(), CPU, measure)
    assert found == (chosen, {name: max(values) for name, values in rates.items()})
    assert left == {"fp32": [], "bf16": []}


@pytest.mark.usefixtures("slow")
def test_a_processor_without_bfloat16_is_not_measured() -> None:
    def measure(config: TrainConfig) -> float:
        raise AssertionError("measured")

    assert fastest_precision(TrainConfig(), CPU, measure) == ("fp32", {})


@pytest.mark.usefixtures("slow")
def test_what_is_said(tiny_config: Config) -> None:
    auto, told = with_chosen_precision(tiny_config(train__precision="auto"), CPU)
    assert (auto.train.precision, told) == ("fp32", "train.precision is fp32, the default on cpu")
    bf16, told = with_chosen_precision(tiny_config(train__precision="bf16"), CPU)
    assert bf16.train.precision == "bf16"
    assert told == "train.precision is bf16, which is slower than fp32 on this processor"
    assert with_chosen_precision(tiny_config(), CPU) == (tiny_config(), "")


@pytest.mark.usefixtures("fast")
def test_several_processes_measure_nothing(tiny_config: Config) -> None:
    config, told = with_chosen_precision(tiny_config(train__precision="auto"), CPU, alone=False)
    assert config.train.precision == "fp32"
    assert "images/s" not in told


@pytest.mark.slow
def test_measures_for_real(tiny_config: Config) -> None:
    config, told = with_chosen_precision(tiny_config(train__precision="auto"), CPU)
    assert config.train.precision in ("fp32", "bf16")
    assert ("bf16: " in told) == has_fast_bfloat16()


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
