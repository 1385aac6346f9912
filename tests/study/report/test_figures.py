"""The charts of a report: which trial is marked, what the axes and colours mean."""

from __future__ import annotations

import math
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from study.config.dimensions import FloatRange, IntRange
from study.report import figures

RATE = FloatDistribution(1e-6, 1e-1, log=True)


def trial_of(state: TrialState, scores: list[float], **params: float) -> Any:
    kinds = {name: RATE if name == "lr_g" else IntDistribution(16, 128) for name in params}
    return create_trial(
        state=state,
        value=scores[-1] if state == TrialState.COMPLETE else None,
        intermediate_values=dict(enumerate(scores, 1)),
        params=params,
        distributions=kinds,
    )


def test_only_the_best_complete_trial_is_marked_and_it_lies_over_the_others() -> None:
    trials = [
        trial_of(TrialState.RUNNING, [1.0]),  # ahead at epoch 1, but no result yet
        trial_of(TrialState.COMPLETE, [9.0, 5.0]),
        trial_of(TrialState.COMPLETE, [9.0, 4.0]),
        trial_of(TrialState.PRUNED, [2.0]),
    ]
    drawn = figures.curves(trials).data
    colours = [trace.line.color for trace in drawn]
    assert colours.count(figures.BEST) == 1
    assert colours[-1] == figures.BEST  # drawn last
    assert list(drawn[-1].y) == [9.0, 4.0]
    assert colours.count(figures.PRUNED) == 1


def test_nothing_is_marked_while_no_trial_is_complete() -> None:
    drawn = figures.curves([trial_of(TrialState.RUNNING, [1.0])]).data
    assert [trace.line.color for trace in drawn] == [figures.OTHER]


def test_a_trial_that_waits_or_failed_has_its_curve() -> None:
    states = (TrialState.WAITING, TrialState.FAIL)
    drawn = figures.curves([trial_of(state, [3.0, 2.0]) for state in states]).data
    assert [list(trace.y) for trace in drawn] == [[3.0, 2.0]] * 2


def test_an_axis_shows_the_whole_range_and_a_baseline_outside_it() -> None:
    trials = [
        trial_of(TrialState.COMPLETE, [3.0], lr_g=1e-3, nz=20),
        trial_of(TrialState.COMPLETE, [2.0], lr_g=1e-5, nz=127),
    ]
    space = {
        "lr_g": FloatRange(type="float", low=1e-4, high=1e-1, log=True),
        "nz": IntRange(type="int", low=16, high=128, log=True),
    }
    (lines,) = figures.parallel(trials, space, "score").data
    rate, width, score = lines.dimensions
    assert rate.range == pytest.approx((-5, -1))
    assert width.range == pytest.approx((math.log10(16), math.log10(128)))
    assert list(width.ticktext) == ["16", "27", "45", "76", "128"]
    assert score.label == "score"


def test_low_scores_have_the_same_colour_in_all_charts() -> None:
    study = optuna.create_study()
    for index in range(6):
        study.add_trial(
            trial_of(TrialState.COMPLETE, [float(index)], lr_g=1e-3 * (1 + index), nz=16 + index)
        )
    scale = tuple(figures.COLOURS)
    space = {
        "lr_g": FloatRange(type="float", low=1e-4, high=1e-1, log=True),
        "nz": IntRange(type="int", low=16, high=128),
    }
    slices = figures.slices(study, ["lr_g", "nz"], "score")
    assert [trace.marker.colorscale for trace in slices.data] == [scale, scale]
    assert all(list(trace.marker.color) == list(trace.y) for trace in slices.data)
    areas = [
        it for it in figures.contour(study, ["lr_g", "nz"], "score").data if it.type == "contour"
    ]
    assert [(area.colorscale, bool(area.reversescale)) for area in areas] == [(scale, False)]
    (lines,) = figures.parallel(study.trials, space, "score").data
    assert lines.line.colorscale == scale
