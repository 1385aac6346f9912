"""The table and the picture of a real study."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.search import study_table
from benchmarks.search.study_table import corners, write_table
from dcgan.data.bank import PhotoBank
from study.config.study_config import StudyConfig
from study.running.study import run_study
from study.storage.store import Store


def test_the_table_has_what_optuna_has_and_the_picture_each_trial(
    tiny_study: Callable[..., StudyConfig],
    store: Store,
    bank: PhotoBank,
    tmp_path: Path,
    monkeypatch: Any,
) -> None:
    config = tiny_study(pruner__name="none")
    trials = run_study(config, store, bank=bank).study.get_trials()
    last = max(trials[0].intermediate_values)
    write_table(tmp_path / "trials.csv", trials, [last, last + 1])
    with (tmp_path / "trials.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in rows] == [trial.number for trial in trials]
    for row, trial in zip(rows, trials, strict=True):
        assert float(row[f"score_{last}"]) == round_to(trial.intermediate_values[last])
        assert row[f"score_{last + 1}"] == ""
        assert (row["state"], int(row["epoch"])) == (trial.state.name.lower(), last)
        numbers = {key: it for key, it in trial.params.items() if not isinstance(it, str)}
        assert {key: float(row[key]) for key in numbers} == {
            key: round_to(it) for key, it in numbers.items()
        }
        assert row["origin"] == ("baseline" if "baseline" in trial.user_attrs else "sampler")
    assert rows[0]["origin"] == "baseline"

    monkeypatch.setattr(study_table, "CORNER_PIXELS", 20)
    folder = store.study(config.study.name)
    picture = np.array(corners(folder, [0, 1]))
    assert picture.shape == (20, 20 * 2 + study_table.GAP_PIXELS, 3)
    with Image.open(folder.trial(1) / "samples_final.png") as samples:
        assert (picture[:, -20:] == np.array(samples.convert("RGB"))[:20, :20]).all()


def round_to(value: float) -> float:
    """To six digits."""
    return float(f"{value:.6g}")
