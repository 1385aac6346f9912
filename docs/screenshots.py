"""Makes the pictures of MLflow's pages and of the report in docs/, from a study of your own.

    pip install playwright                       # and Debian's chromium
    python docs/screenshots.py quickstart --store mlruns

It serves the store as `study ui` does, opens each view in a headless Chromium, and writes WebP
files beside this script.
"""

from __future__ import annotations

import argparse
import io
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from study.report.page import write_report
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store
from study.tracking.experiment import experiments_of
from study.tracking.ui import links, server_command

HERE = Path(__file__).parent
WIDTH, HEIGHT = 1280, 800
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LOADS = 12.0
"""Seconds for MLflow's charts and pictures to appear."""


def main() -> None:
    """Serve, open, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study")
    parser.add_argument("--store", type=Path, default=Path("mlruns"))
    arguments = parser.parse_args()
    store = Store.at(arguments.store)
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit(f"none of {', '.join(BROWSERS)} is installed")
    experiment, _ = experiments_of(store)[arguments.study]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command, environment = server_command(store, port)
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/health")
        with sync_playwright() as driver, tempfile.TemporaryDirectory() as folder:
            opened = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
            page = opened.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            # The assistant opens itself on a first visit only.
            page.add_init_script(
                "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
            )
            for name, link in links(experiment, f"http://127.0.0.1:{port}").items():
                page.goto(link)
                time.sleep(LOADS)
                save(page, f"mlflow-{name.lower().replace(' ', '-')}")
            report = Path(folder) / "report.html"
            write_report(load_optuna_study(store, arguments.study), store, report)
            page.goto(report.as_uri())
            time.sleep(2)
            save(page, "report")
            opened.close()
    finally:
        server.terminate()
        server.wait(timeout=30)


def wait_for(address: str, seconds: float = 60.0) -> None:
    """Until a server answers."""
    ended = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            if time.monotonic() > ended:
                raise
            time.sleep(0.3)


def save(page: Page, name: str) -> None:
    """What the page shows now, as WebP."""
    path = HERE / f"{name}.webp"
    Image.open(io.BytesIO(page.screenshot())).save(path, "WEBP", quality=80, method=6)
    print(path)


if __name__ == "__main__":
    main()
