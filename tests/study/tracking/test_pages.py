"""MLflow's pages of a real study in a real browser: what a person sees."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from browsing import PATIENCE, keep_screenshot, open_browser
from playwright.sync_api import Browser, Page, expect

from study.tracking.ui import links, server_command
from study.tracking.views import PICTURES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of playwright's event loop
]
WIDTH = 1280


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(params=["light", "dark"])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page of a person who has closed the assistant; it must raise no error."""
    context = browser.new_context(
        viewport={"width": WIDTH, "height": 900}, color_scheme=request.param
    )
    context.add_init_script(
        "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
    )
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE)
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    keep_screenshot(opened, request.node.name)
    assert errors == []
    context.close()


@pytest.fixture(scope="module")
def server(finished: Any) -> Iterator[str]:
    """The server of `study ui`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command, environment = server_command(finished.store, port)
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + PATIENCE / 1000
        while not answers(address):
            assert process.poll() is None
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="module")
def pages(finished: Any, server: str) -> dict[str, str]:
    return links(finished.summary.experiment_id, server)


def no_overflow(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTH


def test_the_leaderboard(page: Page, pages: dict[str, str], finished: Any) -> None:
    page.goto(pages["Leaderboard"])
    expect(page.get_by_text(f"{len(finished.trials)} matching runs")).to_be_visible()
    expect(page.get_by_text("Model training")).to_be_visible()
    expect(page.locator("[col-id='metrics.`objective`']").first).to_be_visible()
    columns = page.eval_on_selector_all(
        ".ag-header-cell",
        "cells => cells.map(c => [c.getBoundingClientRect().x, c.getAttribute('col-id')]).sort("
        "(a, b) => a[0] - b[0]).map(c => c[1])",
    )
    first = columns.index("metrics.`objective`")
    assert columns[first + 1] == "metrics.`eval/fd_random`"
    assert first < columns.index("params.`nz`")
    names = page.locator(".ag-cell a[href*='/runs/']").all_inner_texts()
    assert any("good" in name for name in names)  # the baseline's name
    no_overflow(page)


def test_the_samples_are_pictures(page: Page, pages: dict[str, str]) -> None:
    page.goto(pages["Samples"])
    expect(page.get_by_text("Final samples")).to_be_visible()
    picture = page.locator("img[src*='final_samples']").first
    expect(picture).to_be_visible()
    deadline = time.monotonic() + PATIENCE / 1000
    while not picture.evaluate("it => it.naturalWidth > 0"):
        assert time.monotonic() < deadline, "the picture did not load"
    card = page.locator("text=final_samples").first
    expect(card).to_be_visible()
    # Cards are drawn when they come into sight.
    page.get_by_text("Samples over training").first.scroll_into_view_if_needed()
    page.mouse.move(WIDTH * 0.7, 600)
    page.mouse.wheel(0, 2000)
    then = page.locator("img[src*='fixed_noise']").first
    expect(then).to_be_visible()
    expect(page.get_by_role("spinbutton").last).to_have_value("2")  # the first score's step
    assert page.get_by_text("No image logged at this step").count() == 0
    no_overflow(page)


def test_what_mattered_charts_every_trial(page: Page, pages: dict[str, str], finished: Any) -> None:
    page.goto(pages["What mattered"])
    expect(page.get_by_text("Parallel Coordinates").first).to_be_visible()
    expect(page.get_by_text("Showing all runs").first).to_be_visible()
    # Charts are drawn when they come into sight.
    page.get_by_text("Curves").first.scroll_into_view_if_needed()
    scatter = page.locator(".js-plotly-plot", has=page.locator(".scatterlayer path.point")).first
    expect(scatter).to_be_visible()
    scored = sum(bool(trial.intermediate_values) for trial in finished.trials)
    expect(scatter.locator("path.point")).to_have_count(scored)
    assert page.get_by_text("Model metrics").count() == 0  # only the cards of the view
    no_overflow(page)


def test_a_trial_says_what_it_is(page: Page, server: str, finished: Any, mirror_of: Any) -> None:
    run = mirror_of(finished.store).runs("trial")[0]
    page.goto(f"{server}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}")
    expect(page.get_by_role("heading", name="trial-000 ·")).to_be_visible()
    expect(page.get_by_text("is complete, score").first).to_be_visible()
    expect(page.get_by_text("study run tiny").first).to_be_visible()
    no_overflow(page)


def test_the_study_has_curves_and_a_note(
    page: Page, server: str, finished: Any, mirror_of: Any
) -> None:
    (run,) = mirror_of(finished.store).runs("study")
    page.goto(f"{server}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}")
    expect(page.get_by_text("best_score").first).to_be_visible()
    expect(page.get_by_text("search.nz").first).to_be_visible()
    expect(page.get_by_text("study train tiny").first).to_be_visible()
    no_overflow(page)


def test_a_trials_pictures_open_on_a_picture(
    page: Page, server: str, finished: Any, mirror_of: Any
) -> None:
    run = mirror_of(finished.store).runs("trial")[0]
    address = f"{server}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    page.goto(f"{address}/model-metrics")
    for key in PICTURES:
        page.get_by_placeholder("Search metric charts").fill(key)
        picture = page.locator("img[src*='images']").first
        expect(picture).to_be_visible()
        expect(picture).to_have_js_property("complete", True)
        assert picture.evaluate("it => it.naturalWidth") > 0
    assert page.get_by_text("No image logged at this step").count() == 0
    no_overflow(page)
