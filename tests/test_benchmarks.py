"""Every benchmark still starts: its imports resolve and its options parse."""

from __future__ import annotations

import argparse
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.study.idle import idle_share
from benchmarks.training import recipes
from study.storage.trial_record import TrialRecord

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


def test_the_change_between_two_recipes_is_that_of_paired_seeds() -> None:
    logs = {"new": np.log([40.0, 60.0, 45.0]), "start": np.log([100.0, 110.0, 95.0])}
    ratios = logs["new"] - logs["start"]
    low, high = stats.ttest_1samp(ratios, 0).confidence_interval(0.95)
    expected = [np.expm1(it) for it in (ratios.mean(), low, high)]
    weights = {"new": 1, "start": -1}
    assert recipes.change_of(logs, weights) == "{:+.0%} ({:+.0%} to {:+.0%})".format(*expected)
    assert recipes.change_of({k: v[:1] for k, v in logs.items()}, weights) == "-60%"
    assert recipes.change_of({k: v[:0] for k, v in logs.items()}, weights) == ""
    assert recipes.change_of(logs, {"new": 1, "never trained": -1}) == ""


def test_changes_among_several_recipes_are_those_of_least_squares() -> None:
    names, seeds = ["start", "a", "b", "a + b"], 3
    values = np.random.default_rng(5).normal(size=(len(names), seeds)) * 0.2
    # One column a recipe and one a seed (the first seed's is left out).
    rows = [
        [*np.eye(len(names))[recipe], *np.eye(seeds)[seed][1:]]
        for recipe in range(len(names))
        for seed in range(seeds)
    ]
    design = np.array(rows)
    fitted, rest, *_ = np.linalg.lstsq(design, values.ravel(), rcond=None)
    freedom = len(rows) - design.shape[1]
    contrast = np.array([1, -1, -1, 1, 0, 0])
    variance = rest[0] / freedom * contrast @ np.linalg.inv(design.T @ design) @ contrast
    half = stats.t.ppf(0.975, freedom) * np.sqrt(variance)
    expected = [np.expm1(contrast @ fitted + step) for step in (0, -half, half)]
    logs = dict(zip(names, values, strict=True))
    weights = {"a + b": 1, "a": -1, "b": -1, "start": 1}
    assert recipes.change_of(logs, weights) == "{:+.0%} ({:+.0%} to {:+.0%})".format(*expected)


def test_a_recipe_is_a_name_or_a_config_with_settings() -> None:
    asked = argparse.Namespace(data=None, threads=1, precision="fp32")
    assert recipes.recipe("nearest", asked, 7).model.upsample == "nearest"
    changed = recipes.recipe("best model.upsample=transposed optim.lr_d=1e-4", asked, 7)
    assert (changed.model.upsample, changed.optim.lr_d) == ("transposed", 1e-4)
    assert changed.model.discriminator == "projected"
    assert changed.train.seed == 7
    assert recipes.title("nearest + colour") == "nearest + colour"
    assert recipes.title("configs/best.yaml model.nz=3") == "best model.nz=3"


def test_idle_is_what_is_left_of_the_workers_time() -> None:
    """Two workers for ten minutes: one waits for a while and has no trial in the last three."""
    trials = [(0.0, 240.0, 4.0), (0.0, 360.0, 6.0), (240.0, 600.0, 6.0), (390.0, 420.0, 0.5)]
    records = [
        TrialRecord(number, {}, "sampler", None, 0, started=began, ended=ended, minutes=minutes)
        for number, (began, ended, minutes) in enumerate(trials)
    ]
    assert idle_share(records, 2) == pytest.approx((10.0, 0.175, 0.15))
