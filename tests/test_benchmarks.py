"""Every benchmark still starts: its imports resolve and its options parse."""

from __future__ import annotations

import argparse
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.training import recipes

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "benchmarks").glob("*/*.py"))
PARTS = ("lib", "gpu_parts")  # folders of modules that are no commands
NAMES = [f"benchmarks.{file.parent.name}.{file.stem}" for file in FILES]
COMMANDS = [name for name in NAMES if name.split(".")[1] not in PARTS]


@pytest.mark.parametrize("name", [*COMMANDS, "benchmarks.gpu"])
def test_help(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # As `python -m` does it, but in this process: the libraries are imported once for all.
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    monkeypatch.delitem(sys.modules, name, raising=False)  # another test may have imported it
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    assert ended.value.code == 0
    assert "usage: " in capsys.readouterr().out


def test_each_is_cited_in_the_docs() -> None:
    docs = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    assert [name for name in COMMANDS if f"{name} " not in docs and f"{name}`" not in docs] == []


def test_a_paired_change_and_its_interval() -> None:
    values, others = [40.0, 60.0, 45.0], [100.0, 110.0, 95.0]
    ratios = np.log(values) - np.log(others)
    low, high = stats.ttest_1samp(ratios, 0).confidence_interval(0.95)
    expected = [np.expm1(it) for it in (ratios.mean(), low, high)]
    assert recipes.change_of(values, others) == "{:+.0%} ({:+.0%} to {:+.0%})".format(*expected)
    assert recipes.change_of([50.0], [100.0]) == "-50%"
    assert recipes.change_of([], []) == ""


def test_a_recipe_is_a_name_or_a_config_with_settings() -> None:
    asked = argparse.Namespace(data=None, threads=1, precision="fp32")
    assert recipes.recipe("nearest", asked, 7).model.upsample == "nearest"
    changed = recipes.recipe("best model.upsample=transposed optim.lr_d=1e-4", asked, 7)
    assert (changed.model.upsample, changed.optim.lr_d) == ("transposed", 1e-4)
    assert changed.model.discriminator == "projected"
    assert changed.train.seed == 7
    assert recipes.title("translation + nearest") == "translation + nearest"
    assert recipes.title("configs/best.yaml model.nz=3") == "best model.nz=3"
