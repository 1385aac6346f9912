"""Samples of trials show what they were trained with, or do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.trial import TrialState
from torch import Tensor

from dcgan.config.train_config import AugmentConfig
from dcgan.data.bank import load_bank
from dcgan.data.toy_cats import draw_toy_cats
from dcgan.evaluation.leakage import Leakage, changer
from dcgan.runtime.pictures import grid_images, image_grid, save_picture
from dcgan.training.run.folder import RunFolder
from study.config.study_config import StudyConfig
from study.results import traces
from study.results.traces import Trace, augmentations_of, told_traces, trace_of
from study.storage.store import Store, StudyFolder
from study.storage.trial_result import TrialResult

Maker = Callable[..., StudyConfig]
KEY = "augment.rotation_degrees"


@pytest.fixture
def config(tiny_study: Maker) -> StudyConfig:
    return tiny_study(
        base__data__toy_count=200,
        space={
            KEY: {"type": "categorical", "choices": [0, 15]},
            "augment.blur_sigma": {"type": "categorical", "choices": [0, [1.0, 2.0]]},
            "augment.hue": {"type": "categorical", "choices": [0.1, 0.2]},  # never off
            "augment.flip": {"type": "categorical", "choices": [0, 0.5]},
            "model.nz": {"type": "int", "low": 4, "high": 8},
        },
        baselines=[],
    )


def drawn(seed: int, degrees: float) -> Tensor:
    images = torch.from_numpy(draw_toy_cats(64, 32, seed))
    rng = torch.Generator().manual_seed(seed)
    change = changer(AugmentConfig(rotation_degrees=degrees), "rotation_degrees", rng)
    return (change(images / 255) * 255).round().byte()


def trials(folder: StudyFolder, shown: dict[int, tuple[int, float]]) -> list[TrialResult]:
    """Trials with these rotations in their config, and in their samples."""
    rows = []
    for number, (value, degrees) in shown.items():
        path = RunFolder(folder.trial(number)).grid_path(7)
        path.parent.mkdir(parents=True)
        save_picture(image_grid(drawn(100 + number, degrees), 8, scale=4), path)
        params = {"rotation_degrees": value, "blur_sigma": 0, "hue": 0.1}
        rows.append(TrialResult(number, TrialState.COMPLETE, [1.0], params, step=7))
    return rows


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return Store.at(tmp_path).study("tiny")


def test_only_augmentations_that_may_be_off_are_looked_for(config: StudyConfig) -> None:
    assert augmentations_of(config) == [KEY, "augment.blur_sigma"]


def test_a_grid_is_cut_into_its_images() -> None:
    images = drawn(3, 0)
    for scale in (1, 4):
        found = grid_images(image_grid(images, 8, scale=scale), 8, 32)
        assert found is not None
        assert torch.equal(found, images)
    assert grid_images(image_grid(images[:8], 8), 8, 32) is None
    assert grid_images(image_grid(images, 8), 8, 64) is None


def test_samples_that_are_rotated_show_it(config: StudyConfig, folder: StudyFolder) -> None:
    rows = trials(folder, {0: (15, 15), 1: (0, 0), 2: (15, 15), 3: (0, 0)})
    found = trace_of(config, KEY, rows, folder, load_bank(config.base.data).images)
    assert found is not None
    assert found.shows
    assert found.with_it is not None
    assert found.without is not None
    assert found.with_it.share == pytest.approx(1.0, abs=0.15)
    assert found.without.share == pytest.approx(0.0, abs=0.15)
    assert found.describe().startswith("rotation_degrees 15 shows in the samples: ")
    assert found.describe().endswith(" without it")


def test_samples_that_are_not_rotated_do_not(config: StudyConfig, folder: StudyFolder) -> None:
    rows = trials(folder, {0: (15, 0), 1: (0, 0)})
    found = trace_of(config, KEY, rows, folder, load_bank(config.base.data).images)
    assert found is not None
    assert not found.shows
    assert "does not show beyond chance" in found.describe()


def test_samples_of_trials_without_it_are_the_measure() -> None:
    """Samples may differ from photos so much that all look plainer than plain ones."""
    with_it, without = Leakage(-0.2, -0.5, 0.1), Leakage(-0.9, -1.2, -0.6)
    assert Trace("hue 0.1", with_it, without).shows
    assert not Trace("hue 0.1", with_it, None).shows
    assert not Trace("hue 0.1", with_it, Leakage(-0.4, -0.7, -0.1)).shows
    assert Trace("hue 0.1", Leakage(0.4, 0.1, 0.7), None).shows


def test_nothing_is_said_without_samples_photos_or_trials_that_had_it(
    config: StudyConfig, folder: StudyFolder, tiny_study: Maker
) -> None:
    photos = load_bank(config.base.data).images
    rows = trials(folder, {0: (0, 0)})
    assert trace_of(config, KEY, rows, folder, photos) is None
    had = [TrialResult(5, TrialState.COMPLETE, [1.0], {"rotation_degrees": 15}, step=7)]
    assert trace_of(config, KEY, had, folder, photos) is None
    rows = trials(folder, {6: (15, 15)})
    assert trace_of(config, KEY, rows, folder, photos[:30]) is None
    # Nor is it kept that the photos were missing.
    assert told_traces(config, rows, folder, "other photos", [KEY]) == []
    assert not (folder.path / traces.KEPT).exists()


def test_sentences_are_kept_until_the_samples_change(
    config: StudyConfig, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = trials(folder, {0: (15, 15), 1: (0, 0)})
    known = load_bank(config.base.data).fingerprint
    asked: list[Any] = []

    def counted(*given: Any) -> Any:
        asked.append(given[1])
        return trace_of(*given)

    monkeypatch.setattr(traces, "trace_of", counted)
    told = told_traces(config, rows, folder, known, [KEY])
    assert told[0].startswith("rotation_degrees 15 shows in the samples: ")
    assert told_traces(config, rows, folder, known, [KEY]) == told
    assert asked == [KEY]
    assert told_traces(config, rows[:1], folder, known, [KEY]) != told
    for damaged in ("{", "[]"):
        (folder.path / traces.KEPT).write_text(damaged, encoding="utf-8")
        assert told_traces(config, rows, folder, known, [KEY]) == told
    assert asked == [KEY] * 4
