"""The tags that hold a study's views, without a browser (see test_pages.py)."""

from __future__ import annotations

import base64
import json
import zlib
from importlib.metadata import version
from typing import Any

import pytest

from dcgan.config.settings import dotted_keys
from dcgan.config.train_config import TrainConfig
from dcgan.runtime.usage import Usage
from study.config.dimensions import SEARCHABLE_KEYS, SEARCHABLE_SECTIONS
from study.tracking import ui
from study.tracking.run_mirror import USAGE
from study.tracking.ui import links
from study.tracking.views import FIRST_VIEW, NAMES, TAG_LIMIT, TAG_PREFIX, TESTED, Space, view_tags

SPACE = Space(["nz", "lr_d"], {"lr_d": "log10_lr_d"}, "eval/fd_random")
METRICS = ["eval/score", "eval/fd_random", "train/loss_g", "minutes"]


def state_of(value: str) -> dict[str, Any]:
    packed = json.loads(value)["state"]
    assert packed.startswith("deflate;")
    state: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed[8:])))
    return state


def test_this_mlflow_was_tried_in_a_browser() -> None:
    """If this fails: run test_pages.py with the new version, look, and add it to TESTED."""
    assert version("mlflow").rpartition(".")[0] in TESTED


def test_every_view_has_a_tag_and_a_link() -> None:
    tags = view_tags(SPACE, METRICS, {})
    assert list(tags) == [TAG_PREFIX + key for key in NAMES]
    assert next(iter(tags)) == FIRST_VIEW
    shown = links("7", "http://127.0.0.1:5000")
    assert list(shown) == [name for name, _ in NAMES.values()]
    for (key, (name, mode)), link in zip(NAMES.items(), shown.values(), strict=True):
        assert json.loads(tags[TAG_PREFIX + key])["name"] == name
        assert link.startswith("http://127.0.0.1:5000/#/experiments/7/runs?")
        assert f"viewStateShareKey={key}" in link
        assert f"compareRunsMode={mode}" in link


def test_an_unchanged_view_keeps_its_tag_and_a_changed_one_its_birth() -> None:
    first = view_tags(SPACE, METRICS, {})
    assert view_tags(SPACE, METRICS, first) == first
    wider = Space([*SPACE.params, "ngf"], SPACE.log10, SPACE.distance)
    second = view_tags(wider, METRICS, first)
    assert second[FIRST_VIEW] != first[FIRST_VIEW]
    assert json.loads(second[FIRST_VIEW])["createdAt"] == json.loads(first[FIRST_VIEW])["createdAt"]
    damaged = dict.fromkeys(first, "{")
    assert state_of(view_tags(SPACE, METRICS, damaged)[FIRST_VIEW]) == state_of(first[FIRST_VIEW])


def test_the_leaderboard_shows_every_parameter_and_what_mattered_all_runs() -> None:
    leaderboard, _, mattered = map(state_of, view_tags(SPACE, METRICS, {}).values())
    wanted = {"metrics.`objective`", "metrics.`eval/fd_random`", "params.`nz`", "params.`lr_d`"}
    assert wanted <= set(leaderboard["selectedColumns"])
    assert leaderboard["orderByKey"] == "metrics.`objective`"
    cards = [card for card in mattered["compareRunCharts"] if not card["deleted"]]
    (parallel,) = [card for card in cards if card["type"] == "PARALLEL"]
    assert parallel["selectedParams"] == ["nz"]
    assert parallel["selectedMetrics"] == ["log10_lr_d", "eval/score"]
    assert parallel["showAllRuns"]
    axes = [card["xaxis"]["key"] for card in cards if card["type"] == "SCATTER"]
    assert axes == ["log10_lr_d", "nz"]
    sections = {section["uuid"] for section in mattered["compareRunSections"]}
    assert {card["metricSectionId"] for card in mattered["compareRunCharts"]} <= sections
    # MLflow adds a card for each metric without one.
    named = {card.get("metricKey") for card in mattered["compareRunCharts"]}
    assert set(METRICS) <= named
    pictures = [card["imageKeys"] for card in mattered["compareRunCharts"] if "imageKeys" in card]
    assert pictures == [["final_samples"], ["samples/fixed_noise"]]


def test_a_space_of_everything_fits_into_tags() -> None:
    keys = [
        key
        for key in dotted_keys(TrainConfig)
        if key.startswith(SEARCHABLE_SECTIONS) or key in SEARCHABLE_KEYS
    ]
    names = [key.rpartition(".")[2] for key in keys]
    assert len(names) > 25
    rates = {name: f"log10_{name}" for name in names if name.startswith("lr_")}
    metrics = [*METRICS, *rates.values(), *(f"eval/metric_{number}" for number in range(12))]
    tags = view_tags(Space(names, rates, "eval/fd_random"), metrics, {})
    assert len(tags) == len(NAMES)
    assert max(map(len, tags.values())) <= TAG_LIMIT


def test_another_mlflow_gets_the_plain_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui, "version", lambda name: "3.171.0")
    (link,) = links("7").values()
    assert "viewStateShareKey" not in link
    assert "compareRunsMode=CHART" in link
    monkeypatch.setattr(ui, "version", lambda name: f"{TESTED[-1]}.9")
    assert len(links("7")) == 3
    assert len(links("7", views=False)) == 1


def test_mlflow_shows_all_that_a_record_says_of_the_process() -> None:
    assert Usage._fields == USAGE
