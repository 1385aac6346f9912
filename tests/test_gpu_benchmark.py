"""`benchmarks/gpu.py`: its reduced form runs here, and what it compares would show a fault."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.gpu_parts.losses import differences, small_config, trajectory
from benchmarks.gpu_parts.report import Line, Section, at_least, at_most, holds
from benchmarks.gpu_parts.resume import same
from benchmarks.gpu_parts.setup import Setup
from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_reduced_form(tmp_path: Path, programs) -> None:
    file = tmp_path / "gpu.json"
    words = ("-m", "benchmarks.gpu", "--device", "cpu", "--json", file)
    process = programs.start("python", *words, cwd=ROOT, stdout=PIPE, stderr=STDOUT)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    report = json.loads(file.read_text())
    lines = {line["what"]: line for part in report["sections"] for line in part["lines"]}
    assert report["failed"] == 0
    assert len(report["sections"]) == 9
    assert {line["state"] for line in lines.values()} == {"pass", "info"}
    for what in (
        "failed",
        "steps after a failed recording",
        "trials in Optuna",
        "reference recipe: weights and moving average",
        "all techniques: weights and moving average",
        "float32 / float64, steps 1 to 50",
    ):
        assert lines[what]["state"] == "pass"
        assert f"pass  {what}: " in said
    assert lines["best packing"]["state"] == "info"


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
def test_without_a_gpu_it_says_what_runs() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/gpu.py"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == "torch sees no CUDA GPU; --device cpu runs the reduced form\n"


def test_an_error_is_a_line_and_keeps_those_before_it(tmp_path: Path) -> None:
    def part(setup: Setup) -> Iterator[Line]:
        yield holds("first", setup.device, "cpu")
        raise ValueError("no such thing\nand more")

    section = Section("a part", part, 5)
    section.run(Setup("cpu", tmp_path, tmp_path))
    assert [line.state for line in section.lines] == ["pass", "fail"]
    assert str(section).splitlines()[1:] == [
        "  pass  first: cpu  (target cpu)",
        "  fail  error: ValueError: no such thing",
    ]


@pytest.mark.parametrize(
    ("line", "state"),
    [
        (at_least("x", 10.0, 10.0, applies=True), "pass"),
        (at_least("x", 9.9, 10.0, applies=True), "fail"),
        (at_least("x", 9.9, 10.0, applies=False), "info"),
        (at_most("x", 2.0, 2.0), "pass"),
        (at_most("x", 2.1, 2.0), "fail"),
        (at_most("x", float("nan"), 2.0), "fail"),
        (at_most("x", 2.1, 2.0, applies=False), "info"),
        (holds("x", 1, 2), "fail"),
    ],
)
def test_targets(line: Line, state: str) -> None:
    assert line.state == state


@pytest.fixture(scope="module")
def config() -> TrainConfig:
    return small_config(override(TrainConfig(), {"train.device": "cpu"}))


@pytest.fixture(scope="module")
def expected(config: TrainConfig) -> Tensor:
    return trajectory(config, "cpu", torch.float64)


@pytest.mark.parametrize(
    "mistake",
    [
        {"optim.beta1": 0.9},
        {"optim.lr_g": 3.3e-4},
        {"optim.lr_g": 2e-4, "optim.lr_d": 3e-4},
        {"model.leaky_slope": 0.2},
        {"augment.flip": 0.5},
    ],
)
def test_the_losses_would_show_a_mistake(
    config: TrainConfig, expected: Tensor, mistake: dict[str, Any]
) -> None:
    wrong = trajectory(override(config, mistake), "cpu")
    states = [line.state for line in differences("wrong", wrong, expected)]
    assert "fail" in states[:2]  # within three steps
    assert states[-1] == "pass"


def test_networks_that_learn_nothing_do_not_pass(config: TrainConfig) -> None:
    still = torch.ones(50, 5, dtype=torch.float64)
    assert [line.state for line in differences("still", still, still)][-1] == "fail"


def test_the_same_bits() -> None:
    nan = torch.tensor([1.0, torch.nan])
    assert same({"a": [nan, 3]}, {"a": [nan.clone(), 3]})
    assert not same({"a": nan}, {"a": nan, "b": 1})
    assert not same(torch.tensor(0.0), torch.tensor(-0.0))
    assert not same(torch.tensor(1), torch.tensor(1, dtype=torch.int32))
    assert not same(torch.ones(2, 3), torch.ones(3, 2))
    assert not same([nan, 3], [nan, 4])
    assert not same([nan], [nan, nan])
