"""`study report`: one file that a person can read, whatever became of the study."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from browsing import keep_screenshot, open_browser
from optuna.trial import TrialState, create_trial
from playwright.sync_api import Browser, expect

from study.config.study_config import StudyConfig
from study.report.page import _pictures, render
from study.results.leaderboard import rows_of
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of playwright's event loop
Shell = Callable[..., Any]
WIDTH = 1280
MOST_BYTES = 8_000_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def report(finished: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(finished.summary.study, finished.store), encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_person_sees_the_whole_study_without_a_network(
    report: Path, finished: Any, browser: Browser, scheme: Any
) -> None:
    assert report.stat().st_size < MOST_BYTES
    context = browser.new_context(
        viewport={"width": WIDTH, "height": 900}, color_scheme=scheme, offline=True
    )
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda asked: errors.append(asked.url) if "http" in asked.url[:5] else None)
    page.goto(report.as_uri())
    expect(page.get_by_text("The best of")).to_be_visible()
    rows = page.locator("h2:has-text('Leaderboard') ~ .scroll").first.locator("tr")
    assert rows.count() == 1 + len(finished.trials)
    pictures = page.locator("#strips img")
    scored = [trial for trial in finished.trials if trial.intermediate_values]
    assert pictures.count() == len(scored)
    assert pictures.first.evaluate("it => it.decode().then(() => it.naturalWidth)") > 100
    last = pictures.first.get_attribute("src")
    page.locator("#epoch").fill("0")
    assert page.locator("#shown").inner_text() == "1"
    assert pictures.first.get_attribute("src") != last
    assert page.locator("#strips .then").first.inner_text().startswith("epoch 1: fd_random ")
    expect(page.get_by_text("times that of a perfect generator")).to_be_visible()
    assert page.locator("#differences img").count() == 2
    asked = page.locator("#strips img.ask").first
    asked.click(position={"x": asked.bounding_box()["width"] * 0.9, "y": 5})
    assert "Sample 8 at epoch" in page.locator(".closest").inner_text()
    photo = page.locator(".closest img")
    assert photo.evaluate("it => it.decode().then(() => it.naturalWidth)") == 32
    left, right = (page.locator(side).input_value() for side in ("#left", "#right"))
    assert left != right
    first = page.locator("#differences tr").nth(1).locator("td").all_inner_texts()
    assert first[1] != first[2]  # what differs comes first
    assert page.locator(".plotly-graph-div .main-svg").count() >= 4
    text, back = (
        page.evaluate(f"Number(getComputedStyle(document.body).{it}.match(/[0-9]+/)[0])")
        for it in ("color", "backgroundColor")
    )
    assert (text < back) == (scheme == "light")
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTH
    page.locator("h2:has-text('Pictures')").scroll_into_view_if_needed()
    keep_screenshot(page, f"report-{scheme}")
    assert errors == []
    context.close()


def made(config: StudyConfig, *trials: optuna.trial.FrozenTrial) -> optuna.Study:
    """A study of trials without folders."""
    study = optuna.create_study(study_name="made")
    study.set_user_attr("config", config.model_dump_json())
    for trial in trials:
        study.add_trial(trial)
    return study


def test_only_failures(tiny_study: Any, store: Store) -> None:
    failed = create_trial(state=TrialState.FAIL, user_attrs={"reason": "out of memory: 3 GB"})
    page = render(made(tiny_study(), failed, failed), store)
    assert "No trial is complete yet. 2 failed" in page
    assert "2 × out of memory" in page
    assert "No pictures" in page


def test_a_study_without_trials(tiny_study: Any, store: Store) -> None:
    page = render(made(tiny_study()), store)
    assert "No trial is complete yet." in page
    assert "No trial has begun." in page


def test_names_cannot_inject_markup(tiny_study: Any, store: Store) -> None:
    trial = create_trial(state=TrialState.FAIL, user_attrs={"reason": "<script>alert(1)</script>"})
    assert "<script>alert(1)" not in render(made(tiny_study(), trial), store)


def test_a_name_cannot_end_the_script(finished: Any) -> None:
    rows = [replace(row, baseline="</script><b>") for row in rows_of(finished.summary.study)]
    shown = _pictures(rows, finished.store, "tiny", finished.config)
    assert shown["pictures"]
    assert "<" not in shown["data"]
    assert (
        json.loads(shown["data"])["trials"][str(shown["pictures"][0])]["origin"] == "</script><b>"
    )


def test_a_front_has_no_best_trial(tiny_study: Any, store: Store) -> None:
    config = tiny_study(objective__mode="pareto")
    study = optuna.create_study(study_name="made", directions=["minimize", "minimize"])
    study.set_user_attr("config", config.model_dump_json())
    for distance, imbalance in ((10.0, 1.0), (20.0, 0.5), (30.0, 2.0)):
        attributes = {"fd_random": distance, "imbalance": imbalance, "score": distance}
        study.add_trial(create_trial(values=[distance, imbalance], user_attrs=attributes))
    page = render(study, store)
    assert "2 of 3 complete trials are on the front" in page
    assert "The nearest to the photos is trial-000" in page
    assert "Distance over trials" in page
    assert "Learning curves" not in page
    assert "The best of" not in page


def test_the_best_beside_the_baseline(tiny_study: Any, store: Store) -> None:
    def of(score: float, baseline: str | None = None) -> optuna.trial.FrozenTrial:
        attributes = {"fd_random": score} | ({"baseline": baseline} if baseline else {})
        return create_trial(value=score, user_attrs=attributes)

    page = render(made(tiny_study(), of(100, "good"), of(80)), store)
    assert "Its score is 20% lower than that of the best baseline, “good” (100.0)" in page
    assert "nothing better" not in render(made(tiny_study(), of(100, "good")), store)
    assert "nothing better" in render(made(tiny_study(), of(100, "good"), of(120)), store)
    page = render(made(tiny_study(), of(0.001, "good"), of(-0.001)), store)  # a kernel distance
    assert "Its score is lower than that of the best baseline" in page
    assert re.search(r"2 of \d+ trials finished", page)


@pytest.mark.slow
def test_thousands_of_trials_are_summarised(tiny_study: Any, store: Store) -> None:
    config = tiny_study()
    distributions = {"nz": optuna.distributions.IntDistribution(4, 16, log=True)}
    trials = [
        create_trial(
            value=float(number % 97 + 1),
            params={"nz": 4 + number % 13},
            distributions=distributions,
            intermediate_values={1: 5.0, 2: float(number % 97 + 1)},
            user_attrs={"fd_random": 3.0, "imbalance": 0.1 * (number % 7)},
        )
        for number in range(3000)
    ]
    page = render(made(config, *trials), store)
    assert len(page) < MOST_BYTES
    assert "2800 more trials are not shown." in page


@pytest.mark.slow
def test_the_command(own_finished: Store, shell: Shell, mirror_of: Any, tmp_path: Path) -> None:
    done = shell("report", "tiny", "--store", own_finished.root, "-o", tmp_path / "it.html")
    assert str(tmp_path / "it.html") in done.stdout
    mirror = mirror_of(own_finished)
    assert "it.html" in mirror.artifacts(*mirror.runs("study"))
    said = shell("report", "none", "--store", own_finished.root, code=2).stderr
    assert "there is no study 'none'" in said
    nowhere = own_finished.optuna_database / "report.html"
    said = shell("report", "tiny", "--store", own_finished.root, "-o", nowhere, code=2).stderr
    assert "cannot write" in said
    # What is left is shown if folders were deleted.
    shutil.rmtree(own_finished.study("tiny").path / "trials")
    page = render(load_optuna_study(own_finished, "tiny"), own_finished)
    assert "No pictures" in page
    assert "trial-000" in page


def test_trials_that_seeds_may_have_ordered_are_called_a_tie(tiny_study: Any, store: Store) -> None:
    def verdict_of(*scores: float) -> str:
        trials = [create_trial(value=score, user_attrs={"fd_random": score}) for score in scores]
        page = render(made(tiny_study(), *trials), store)
        box = re.search(r'<div class="verdict">(.*?)</div>', page, re.S)
        assert box
        return box[1]

    assert "tie" not in verdict_of(100.0, 116.0)
    assert "But trial-002 lies within 15% of it" in verdict_of(116.0, 100.0, 114.0)
    assert "But trial-001 and trial-002 lie within 15% of it" in verdict_of(100.0, 101.0, 102.0)
    many = verdict_of(*(100.0 + number / 10 for number in range(9)))
    assert "But trial-001, trial-002, trial-003 and others lie within" in many
    assert "tie" not in verdict_of(-1.0, -1.0)


def test_the_words_are_those_of_the_study(finished: Any) -> None:
    page = render(finished.summary.study, finished.store)
    assert "<dt>fd_random</dt>" in page
    assert "<dt>recognised</dt>" not in page  # its extractor is no classifier
    assert "2 epochs, 32 × 32 pixels, scores of" in page
