"""A finished run and an evaluation as a notebook shows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pages import Page

from dcgan import TrainConfig, TrainResult, evaluate, train
from dcgan.evaluation.record import EvalRecord, in_digits

MOST_BYTES = 300_000


@pytest.fixture(scope="module")
def run(
    tiny_config: Callable[..., TrainConfig], tmp_path_factory: pytest.TempPathFactory
) -> TrainResult:
    config = tiny_config(eval__every_epochs=1)
    return train(config, tmp_path_factory.mktemp("run") / "run")


def test_a_run_shows_its_scores_with_their_intervals(run: TrainResult) -> None:
    html = run._repr_html_()
    page = Page(html)
    rows = {row[0]: row[1:] for row in page.rows}
    record = run.selected
    name, metrics = record.frechet_metric, record.metrics
    low, high = metrics[f"{name}_low"], metrics[f"{name}_high"]
    assert rows[name][:2] == [in_digits(record.frechet), f"{in_digits(low)} – {in_digits(high)}"]
    error = metrics[f"{record.kernel_metric}_standard_error"]
    assert rows[record.kernel_metric][:2] == [f"{record.kernel:.5f}", f"± {error:.5f}"]
    assert rows["imbalance"][0] == record.balance
    assert record.balance.startswith(f"{record.imbalance:.2f} (")
    assert rows[""][0] == f"last, epoch {record.epoch} (counts)"
    assert not any(key.endswith(("_low", "_high", "_ema", "_raw")) for key in rows)
    assert "2 epochs, 6 steps in" in page.text
    assert len(html.encode()) < MOST_BYTES


def test_a_run_shows_its_closing_samples(run: TrainResult) -> None:
    (picture,) = Page(run._repr_html_()).pictures.values()
    assert picture.size == (540, 540)


def test_last_and_best_are_told_apart(run: TrainResult) -> None:
    other = replace(run.final, epoch=1, step=3)
    top = Page(replace(run, best=other)._repr_html_()).rows[0]
    assert top[1::2] == ["last, epoch 2 (counts)", "best, epoch 1"]
    top = Page(replace(run, best=other, select="best")._repr_html_()).rows[0]
    assert top[1::2] == ["best, epoch 1 (counts)", "last, epoch 2"]
    same = Page(replace(run, best=run.final)._repr_html_()).rows[0]
    assert same[1::2] == ["last, epoch 2 (counts)"]


def test_what_a_person_should_read_is_shown_as_text(run: TrainResult, tmp_path: Path) -> None:
    fid = {"fid": 61.25, "fid_low": 60.0, "fid_high": 62.5}
    told = replace(run, folder=tmp_path / "<i>", notes=("<b>note</b>",), fid=fid)
    page = Page(told._repr_html_())
    assert "Note: <b>note</b>" in page.text
    assert f"No picture: {tmp_path / '<i>' / 'samples_final.png'} is not there" in page.text
    assert "fid 61.25 (95 %: 60.00 – 62.50; n = 64)" in page.text
    assert not {"b", "i", "img"} & {*page.tags}


def test_an_evaluation_shows_both_generators(run: TrainResult) -> None:
    record = evaluate(run.folder / "checkpoint.pt")
    rows = {row[0]: row[1:] for row in Page(record._repr_html_()).rows}
    name = record.frechet_metric
    assert rows[""][::2] == ["ema (counts)", "raw"]
    assert rows[name][::2] == [in_digits(record.frechet), in_digits(record.other[name])]


def test_an_evaluation_of_an_earlier_release_is_shown() -> None:
    plain = {"kind": "eval", "epoch": 3, "frechet_metric": "fd_x", "fd_x": 5.0}
    page = Page(EvalRecord.from_dict(plain)._repr_html_())
    assert page.rows[1:] == [["fd_x", "5.000", ""]]
