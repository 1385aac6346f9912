"""A real browser for tests of pages."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
"""What each test with a browser saw at its end, for a person who looks after a run of CI."""
PATIENCE = 60_000
"""Milliseconds to wait for what a page loads; a busy machine takes long."""


@contextmanager
def open_browser() -> Iterator[Browser]:
    """The machine's Chromium; without one the test is skipped, except in CI."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        assert not os.environ.get("CI"), "CI must try the pages, and has no Chromium"
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


def keep_screenshot(page: Page, test: str) -> None:
    """Keep what a page shows under a test's name, over that of an earlier run."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{re.sub(r'[^a-z0-9]+', '-', test).strip('-')}.png")
