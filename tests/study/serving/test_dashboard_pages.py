"""The dashboard's pages in a real browser: what a person sees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from browsing import open_browser
from playwright.sync_api import Page, expect

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of playwright's event loop
]
PATIENCE = 60_000
"""Milliseconds to wait for what a page loads; a busy machine takes long."""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with open_browser() as browser:
        opened = browser.new_page(viewport={"width": 1280, "height": 900})
        opened.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        errors: list[str] = []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        yield opened
        assert errors == []


def wait_for_picture(page: Page, name: str, address: str) -> None:
    """Wait until a card with a picture is drawn with it."""
    expect(page.get_by_text(name, exact=True)).to_be_visible()
    drawn = "a => [...document.images].some(i => i.src.includes(a) && i.naturalWidth > 0)"
    page.wait_for_function(drawn, arg=address)


def test_a_trial_with_its_pictures(page: Page, dashboard: Any) -> None:
    trial = dashboard.study()["trials"][0]
    page.goto(f"{dashboard.url}/dashboard/studies/1/trials?numbers=0")
    expect(page.get_by_role("heading", name="Trial 0")).to_be_visible()
    expect(page.get_by_text("6 Trials")).to_be_visible()
    for picture in trial["artifacts"]:
        wait_for_picture(page, picture["filename"], picture["artifact_id"])


def test_a_study_with_its_contact_sheet_and_note(page: Page, dashboard: Any) -> None:
    (sheet,) = dashboard.study()["artifacts"]
    page.goto(f"{dashboard.url}/dashboard/studies/1")
    wait_for_picture(page, "contact_sheet.png", sheet["artifact_id"])
    page.goto(f"{dashboard.url}/dashboard/studies/1/note")
    expect(page.get_by_text("study export tiny")).to_be_visible()


def test_a_study_cannot_be_deleted_there(page: Page, dashboard: Any) -> None:
    page.goto(f"{dashboard.url}/dashboard")
    page.get_by_role("button", name="delete study").click()
    page.get_by_role("button", name="Yes").click()
    expect(page.get_by_text("Failed to delete study (id=1)")).to_be_visible()
    assert dashboard.study()["name"] == "tiny"
