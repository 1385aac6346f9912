"""One function with a name is a metric wherever scores are kept or shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from torch import Tensor

from dcgan.cli.scores import evaluate, fid
from dcgan.data.bank import PhotoBank
from dcgan.evaluation.metrics.registry import METRICS, RealSet, metric
from dcgan.evaluation.record import EvalRecord
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import read_evals
from study.config.study_config import StudyConfig
from study.results.leaderboard import as_markdown, cells_of, rows_of
from study.running.study import StudySummary, run_study
from study.storage.store import Store


@contextmanager
def size_metric(**flags: bool) -> Iterator[None]:
    """Add a metric as the documentation says, for a while."""

    @metric("relative_size", **flags)
    def relative_size(real: RealSet, fakes: Tensor) -> float:
        """How long the fakes' features are beside the photos'."""
        photos = real.once("size", lambda: float(real.features.square().mean()))
        return float(fakes.square().mean()) / photos

    try:
        yield
    finally:
        del METRICS["relative_size"]


Printed = Callable[..., str]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Printed:
    """What a command prints on a wide terminal."""
    monkeypatch.setenv("COLUMNS", "250")

    def run(command: Callable[..., None], *arguments: Any, **options: Any) -> str:
        capsys.readouterr()
        command(*arguments, **options)
        return capsys.readouterr().out

    return run


@pytest.fixture
def run_two(
    tiny_study: Callable[..., StudyConfig], store: Store, bank: PhotoBank
) -> Callable[[], StudySummary]:
    config = tiny_study(study__trials=2, pruner__name="none")
    return lambda: run_study(config, store, bank=bank)


def scored(store: Store, number: int) -> list[EvalRecord]:
    return read_evals(RunFolder(store.study("tiny").trial(number)).history)


@pytest.mark.slow
def test_a_function_with_a_name_is_a_metric_everywhere(
    run_two: Callable[[], StudySummary],
    store: Store,
    mirror_of: Any,
    printed: Printed,
    tmp_path: Path,
    bank: PhotoBank,
) -> None:
    checkpoint = RunFolder(store.study("tiny").trial(0)).checkpoint
    for name, images in (("a", bank.images[:12]), ("b", bank.images[12:30])):
        for number, image in enumerate(images):
            (tmp_path / name).mkdir(exist_ok=True)
            picture = Image.fromarray(image.permute(1, 2, 0).numpy())
            picture.save(tmp_path / name / f"{number}.png")
    with size_metric(leaderboard=True):
        study = run_two().study
        record = json.loads(printed(evaluate, checkpoint, as_json=True))
        table = printed(evaluate, checkpoint)
        folders = json.loads(printed(fid, tmp_path / "a", tmp_path / "b", "random", as_json=True))
        folder_table = printed(fid, tmp_path / "a", tmp_path / "b", "random")
    mirror, rows = mirror_of(store), {row.number: row for row in rows_of(study)}
    for number, run in enumerate(mirror.runs("trial")):
        values = [item.metrics["relative_size"] for item in scored(store, number)]
        assert len(values) == 2
        assert all(value > 0 for value in values)
        points = mirror.history(run, "eval/relative_size")
        assert [point.value for point in points] == values
        assert rows[number].metrics == {"relative_size": values[-1]}
    last = scored(store, 0)[-1]
    assert record["relative_size"] == pytest.approx(last.metrics["relative_size"], rel=1e-6)
    assert "relative_size" in table
    assert f"{record['relative_size']:.3f}" in table
    assert "relative_size" in folder_table
    assert f"{folders['relative_size']:.3f}" in folder_table
    headings, body = cells_of(list(rows.values()))
    column = headings.index("relative_size")
    assert headings[column - 1 : column + 2] == ["fd_random", "relative_size", "imbalance"]
    assert f"{last.metrics['relative_size']:.3f}" in [line[column] for line in body]
    assert "| relative_size |" in as_markdown(list(rows.values()))
    # Once the function is gone, so is the metric.
    assert "relative_size" not in json.loads(printed(evaluate, checkpoint, as_json=True))
    assert "relative_size" not in printed(evaluate, checkpoint)


def test_a_metric_is_shown_only_where_it_is_wanted(
    run_two: Callable[[], StudySummary], store: Store, mirror_of: Any, printed: Printed
) -> None:
    with size_metric(mlflow=False, table=False):
        study = run_two().study
        table = printed(evaluate, RunFolder(store.study("tiny").trial(0)).checkpoint)
    assert "relative_size" not in table
    assert all("relative_size" in item.metrics for item in scored(store, 1))
    for run in mirror_of(store).runs("trial"):
        assert "eval/fd_random" in run.data.metrics
        assert "eval/relative_size" not in run.data.metrics
    assert [row.metrics for row in rows_of(study)] == [{}, {}]
    assert "relative_size" not in as_markdown(rows_of(study))
