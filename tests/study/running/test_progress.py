"""Progress in a real kernel: it is shown without being asked for, and does not flood the cell."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from pages import Page

from dcgan import TrainConfig
from dcgan.runtime.live import in_notebook
from study.config.study_config import StudyConfig
from study.running.study import run_study
from study.storage.store import Store

pytestmark = pytest.mark.slow

COUNTING = """
sent = []
get_ipython().display_pub.register_hook(lambda message: sent.append(message) or message)
"""
MANY_STEPS = """
from dcgan.runtime.live import Bar, LiveBars
live, time = LiveBars(clock=lambda: now), 0.0
for step in range(1001):
    now = step / 100
    live.bars["a"] = Bar("<steps>", 1000, step, "& more")
    live.show()
for number in range(100):
    live.note(f"note {number}")
"""
TRAINING = """
from dcgan import TrainConfig, train
config = TrainConfig.model_validate_json({config!r})
train(config, "shown");
"""
SILENT = """train(config, "silent", progress=False);"""
STUDY = """
from pathlib import Path
from study import Store, StudyConfig, run_study
run_study(StudyConfig.model_validate_json({config!r}), Store.at(Path({store!r})));
"""


@pytest.fixture(scope="module")
def cells(
    tiny_config: Callable[..., TrainConfig],
    tiny_study: Callable[..., StudyConfig],
    new_store: Callable[[], Store],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """Name → an executed cell."""
    store, workers = new_store(), tiny_study(study__name="two", study__workers=2)
    sources = {
        "counting": COUNTING,
        "many": MANY_STEPS,
        "sent": "len(sent)",
        "training": TRAINING.format(config=tiny_config().model_dump_json()),
        "silent": SILENT,
        "study": STUDY.format(config=tiny_study().model_dump_json(), store=str(store.root)),
        "workers": STUDY.format(config=workers.model_dump_json(), store=str(store.root)),
    }
    made = nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_code_cell, sources.values())])
    return dict(zip(sources, executed(made, tmp_path_factory.mktemp("kernel")).cells, strict=True))


def executed(notebook: Any, folder: Path) -> Any:
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
    client.execute()
    return notebook


def html_of(cell: Any) -> Page:
    """What a cell shows: one output, and nothing on the standard streams."""
    (output,) = cell.outputs
    assert output.output_type == "display_data"
    return Page(output.data["text/html"])


def test_a_thousand_steps_are_one_output(cells: dict[str, Any]) -> None:
    page = html_of(cells["many"])
    assert page.tags.count("progress") == 1
    assert "<steps> 1000/1000, & more" in page.text.replace("  ", " ")
    assert [int(number) for number in re.findall(r"note (\d+)", page.text)] == [*range(92, 100)]


def test_a_bar_is_replaced_at_most_twice_a_second(cells: dict[str, Any]) -> None:
    (result,) = cells["sent"].outputs
    updates = int(result.data["text/plain"]) - 100  # a note is shown at once
    assert 15 <= updates <= 21  # of ten seconds


def test_training_shows_a_bar(cells: dict[str, Any]) -> None:
    text = html_of(cells["training"]).text
    assert re.search(r"training\s+6/6, epoch 2/2, fd_random [\d.]+ at epoch 2, \d+ images/s", text)


def test_progress_can_be_left_out(cells: dict[str, Any]) -> None:
    assert cells["silent"].outputs == []


def test_a_study_shows_its_trials_and_its_decisions(cells: dict[str, Any]) -> None:
    page = html_of(cells["study"])
    assert re.search(r"trials\s+3/3, best score [\d.]+", page.text)
    assert page.tags.count("progress") == 1  # the trials' own bars went with them


def test_workers_tell_the_same_bars(cells: dict[str, Any]) -> None:
    page = html_of(cells["workers"])
    assert re.search(r"trials\s+3/3, best score [\d.]+", page.text)
    assert page.tags.count("progress") == 1


def test_elsewhere_nothing_is_shown(
    tiny_study: Callable[..., StudyConfig], store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    assert not in_notebook()
    run_study(tiny_study(study__trials=1), store)
    assert capfd.readouterr() == ("", "")
