"""A study and its trials as a notebook shows them."""

from __future__ import annotations

import copy
import math
import pickle
import shutil
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from pages import Page
from PIL import ImageChops

from dcgan.config.settings import load_train_config
from dcgan.errors import UsageError
from study import load_study
from study.errors import StudyError, UnknownStudyError
from study.results.leaderboard import cells_of, rows_of
from study.results.notebook import ShownStudy
from study.results.notebook_html import BASELINE, MOST_ROWS, NO_PICTURES
from study.results.sample_rows import ROW_PIXELS, TITLE_PIXELS
from study.storage.store import Store, trial_name

MOST_BYTES = 300_000


@pytest.fixture(scope="module")
def shown(finished: Any) -> ShownStudy:
    return load_study("tiny", finished.store)


@pytest.fixture
def in_memory(store: Store) -> ShownStudy:
    """A study without trials and without folders."""
    return ShownStudy(optuna.create_study(study_name="<b>mine</b>"), store)


def ended(state: TrialState, number: int = 0, **attributes: Any) -> Any:
    value = float(number) if state == TrialState.COMPLETE else None
    return create_trial(state=state, value=value, user_attrs=attributes)


def test_the_study_shows_its_leaderboard_with_the_baselines_marked(
    shown: ShownStudy, finished: Any
) -> None:
    html = shown._repr_html_()
    page = Page(html)
    headings, body = cells_of(rows_of(shown))
    assert page.rows[0] == headings
    plain = [[cells[0].removesuffix(f" {BASELINE}"), *cells[1:]] for cells in page.rows[1:]]
    assert plain == body
    baselines = {trial_name(row.number) for row in rows_of(shown) if row.baseline}
    assert {name.removesuffix(f" {BASELINE}") for name in page.marked} == baselines
    assert len(baselines) == 2
    assert "6 of 6 trials finished, best score" in page.text
    assert len(html.encode()) < MOST_BYTES
    assert str(finished.store.root) not in html


def test_the_study_shows_samples_of_the_best_trials(shown: ShownStudy) -> None:
    pictures = Page(shown._repr_html_()).pictures
    best = [trial_name(row.number) for row in rows_of(shown)[:5]]
    assert [title.partition(":")[0] for title in pictures] == best
    assert {picture.width for picture in pictures.values()} == {ROW_PIXELS}
    assert all(60 < picture.height < 80 for picture in pictures.values())


def test_what_a_launch_returns_shows_the_same(shown: ShownStudy, finished: Any) -> None:
    assert finished.summary._repr_html_() == shown._repr_html_()
    assert repr(finished.summary) == repr(shown)
    assert str(finished.store.root) not in repr(finished.summary)


def test_it_is_an_optuna_study(shown: ShownStudy) -> None:
    assert isinstance(shown, optuna.study.Study)
    assert shown.best_trial.number == rows_of(shown)[0].number
    assert len(shown.get_trials()) == len(shown.trials_dataframe()) == 6
    assert shown.direction == optuna.study.StudyDirection.MINIMIZE
    assert copy.copy(shown).study_name == "tiny"
    assert optuna.visualization.plot_optimization_history(shown).data
    assert pickle.loads(pickle.dumps(shown)).store == shown.store


def test_the_frame_has_the_numbers_of_the_leaderboard(shown: ShownStudy) -> None:
    frame = shown.to_frame()
    rows = rows_of(shown)
    assert list(frame.index) == [row.number for row in rows]
    assert frame.index.name == "number"
    for row in rows:
        line = frame.loc[row.number]
        assert line["state"] == row.state.name
        assert line["score"] == row.score
        assert line["minutes"] == row.minutes
        assert line["origin"] == row.origin
        assert {name: line[name] for name in row.params} == row.params
        assert {name: line[name] for name in row.distances} == row.distances
        reason = line["reason"]
        assert reason == row.reason or (row.reason is None and math.isnan(reason))
    assert any(row.reason for row in rows)


def test_samples_are_the_trials_own_pictures_in_the_order_asked_for(shown: ShownStudy) -> None:
    both, first, second = shown.samples([3, 1]), shown.samples([3]), shown.trial(1).samples()
    assert both.size == (ROW_PIXELS, first.height + second.height)
    assert first.height > TITLE_PIXELS + 60
    upper = both.crop((0, 0, ROW_PIXELS, first.height))
    lower = both.crop((0, first.height, ROW_PIXELS, both.height))
    assert ImageChops.difference(upper, first).getbbox() is None
    assert ImageChops.difference(lower, second).getbbox() is None
    assert ImageChops.difference(first, second).getbbox() is not None
    assert shown.samples().height == sum(
        shown.samples([row.number]).height for row in rows_of(shown)[:5]
    )


def test_a_trial_shows_its_numbers_and_its_evaluations(shown: ShownStudy) -> None:
    trial = shown.trial(0)
    page = Page(trial._repr_html_())
    values = dict(map(tuple, page.rows))
    assert values["state"] == "complete"
    assert float(values["score"]) == pytest.approx(trial.score, abs=0.01)
    assert {*trial.params} < {*values}
    assert [*page.pictures] == ["epoch 1", "epoch 2"]
    assert trial.score == shown.to_frame().loc[0, "score"]


def test_a_pruned_trial_says_why(shown: ShownStudy) -> None:
    trial = next(row for row in rows_of(shown) if row.state == TrialState.PRUNED)
    assert trial.reason
    assert f"Why it ended: {trial.reason}" in Page(shown.trial(trial.number)._repr_html_()).text


def test_the_exported_config_is_that_of_the_command(
    shown: ShownStudy, finished: Any, tmp_path: Any
) -> None:
    config = shown.export(tmp_path / "best.yaml")
    assert config.provenance["trial"] == trial_name(rows_of(shown)[0].number)
    assert load_train_config(tmp_path / "best.yaml") == config
    assert load_train_config(finished.summary.best_config) == config
    assert shown.export(trial=1).provenance["trial"] == "trial-001"
    with pytest.raises(UsageError, match="no trial 99"):
        shown.export(trial=99)


def test_a_trial_that_is_not_there_is_refused(shown: ShownStudy, in_memory: ShownStudy) -> None:
    with pytest.raises(UsageError, match=r"'tiny' has no trial 9; its trials are 0 to 5"):
        shown.samples([0, 9])
    with pytest.raises(UsageError, match="has no trial 0; it has none yet"):
        in_memory.trial(0)
    with pytest.raises(UsageError, match="no trial to show samples of"):
        in_memory.samples()
    with pytest.raises(UnknownStudyError, match="no study 'missing'"):
        load_study("missing", shown.store)


def test_missing_and_damaged_pictures_are_said(own_finished: Store) -> None:
    files = own_finished.study("tiny")
    study = load_study("tiny", own_finished)
    for grid in (files.trial(0) / "samples").glob("*.png"):
        content = bytearray(grid.read_bytes())
        content[40:60] = bytes(20)  # a damaged chunk, at which Pillow raises a SyntaxError
        grid.write_bytes(content)
    grid.write_bytes(b"no picture")
    shutil.rmtree(files.trial(1))
    assert not {"trial-000", "trial-001"} & {
        title.partition(":")[0] for title in Page(study._repr_html_()).pictures
    }
    assert NO_PICTURES in Page(study.trial(0)._repr_html_()).text
    assert NO_PICTURES in Page(study.trial(1)._repr_html_()).text
    assert study.samples([0, 1]).size == (ROW_PIXELS, 4 * TITLE_PIXELS)
    shutil.rmtree(files.path / "trials")
    page = Page(study._repr_html_())
    assert NO_PICTURES in page.text
    assert len(page.rows) == 7


def test_an_empty_study(in_memory: ShownStudy) -> None:
    page = Page(in_memory._repr_html_())
    assert "No trial has begun." in page.text
    assert page.rows == []
    assert "<b>mine</b>" in page.text
    assert "b" not in page.tags
    frame = in_memory.to_frame()
    assert len(frame) == 0
    assert {"state", "score", "minutes", "reason"} < {*frame.columns}
    with pytest.raises(StudyError):
        in_memory.export()


def test_only_failures(in_memory: ShownStudy) -> None:
    for _ in range(2):
        in_memory.add_trial(ended(TrialState.FAIL, reason="disk <full> & no more"))
    in_memory.add_trial(ended(TrialState.FAIL))
    page = Page(in_memory._repr_html_())
    assert "3 trials finished, no complete trial yet" in page.text
    assert "2 failed: disk <full> & no more" in page.text
    assert "1 failed: no reason is recorded" in page.text
    assert NO_PICTURES in page.text
    assert "full" not in page.tags
    assert list(in_memory.to_frame()["state"]) == ["FAIL"] * 3
    assert "Why it ended: disk <full> & no more" in Page(in_memory.trial(0)._repr_html_()).text
    assert in_memory.samples().size == (ROW_PIXELS, 6 * TITLE_PIXELS)


def test_names_are_escaped_and_many_trials_are_counted(in_memory: ShownStudy) -> None:
    name = "<script>alert('&')</script>"
    for number in range(MOST_ROWS):
        in_memory.add_trial(ended(TrialState.COMPLETE, number, baseline=name))
    in_memory.add_trials([ended(TrialState.FAIL), ended(TrialState.FAIL)])
    html = in_memory._repr_html_()
    page = Page(html)
    assert len(page.rows) == 1 + MOST_ROWS
    assert page.rows[1][-1] == name
    assert "script" not in page.tags
    assert "2 more trials are not shown: 2 fail." in page.text
    assert len(html.encode()) < MOST_BYTES


def test_a_front_is_shown_in_its_order(store: Store) -> None:
    directions = ["minimize", "minimize"]
    study = optuna.create_study(study_name="front", directions=directions)
    for values in ([2.0, 0.1], [1.0, 0.2], [3.0, 0.3]):
        facts = {"metric": "fd_x", "fd_x": values[0], "imbalance": values[1], "score": values[0]}
        study.add_trial(
            create_trial(state=TrialState.COMPLETE, values=values, user_attrs=dict(facts))
        )
    page = Page(ShownStudy(study, store)._repr_html_())
    assert [row[0] for row in page.rows[1:]] == ["trial-001", "trial-000", "trial-002"]
    assert "The front comes first" in page.text
    assert "front of 2 trials" in page.text
