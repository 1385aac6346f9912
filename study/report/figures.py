"""The charts of a report, as plotly figures without colours of their own for text and grid."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import optuna.visualization as charts
import plotly.graph_objects as go
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from study.config.dimensions import Choices, Dimension, IntRange, plain_value
from study.storage.store import trial_name

BEST, OTHER, PRUNED = "#e4572e", "#5b8db8", "#a0a0a0"
"""All can be seen on light and on dark pages."""
COLOURS = [(0.0, BEST), (1.0, OTHER)]
"""Of a score, in every chart: low, which is good, to high."""
CURVES = 60
"""Learning curves that are drawn; more cannot be told apart."""


def history(trials: Sequence[FrozenTrial], aim: str) -> go.Figure:
    """What is minimised (`aim`) over trials: complete and pruned ones, and the best so far."""
    figure = go.Figure()
    for state, name, colour, symbol in (
        (TrialState.COMPLETE, "complete", OTHER, "circle"),
        (TrialState.PRUNED, "pruned (last score)", PRUNED, "x"),
    ):
        chosen = [trial for trial in trials if trial.state == state and last_score(trial)]
        figure.add_scatter(
            x=[trial.number for trial in chosen],
            y=[last_score(trial) for trial in chosen],
            text=[trial_name(trial.number) for trial in chosen],
            mode="markers",
            name=name,
            marker={"color": colour, "symbol": symbol},
        )
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    figure.add_scatter(
        x=[trial.number for trial in complete],
        y=list(accumulate((last_score(trial) or math.inf for trial in complete), min)),
        mode="lines",
        line={"shape": "hv", "color": OTHER},
        name="best so far",
    )
    return _titled(figure, "trial", aim)


def curves(trials: Sequence[FrozenTrial]) -> go.Figure:
    """Score by epoch of the trials, the best in a colour of its own and over the others."""
    figure = go.Figure()
    first, last = TrialState.COMPLETE, TrialState.PRUNED
    states = [first, TrialState.RUNNING, TrialState.WAITING, TrialState.FAIL, last]
    of_state = [[trial for trial in trials if trial.state == state] for state in states]
    ranked = [trial for some in of_state for trial in sorted(some, key=_by_score)]
    for rank, trial in reversed([*enumerate(ranked[:CURVES])]):
        best = rank == 0 and trial.state == TrialState.COMPLETE
        colour = BEST if best else PRUNED if trial.state == TrialState.PRUNED else OTHER
        figure.add_scatter(
            x=list(trial.intermediate_values),
            y=list(trial.intermediate_values.values()),
            name=trial_name(trial.number),
            line={"color": colour, "width": 3 if best else 1},
            mode="lines+markers" if len(trial.intermediate_values) < 3 else "lines",
            showlegend=False,
        )
    return _titled(figure, "epoch", "score")


def _by_score(trial: FrozenTrial) -> float:
    score = last_score(trial)
    return math.inf if score is None else score


def balance(distances: Sequence[float], imbalances: Sequence[float]) -> go.Figure:
    """Imbalance of G and D against the distance."""
    figure = go.Figure(
        go.Scatter(x=list(imbalances), y=list(distances), mode="markers", marker={"color": OTHER})
    )
    return _titled(figure, "imbalance |ln(loss_G / loss_D)|", "distance")


def slices(study: Study, params: Sequence[str], aim: str) -> go.Figure:
    """The score over each of a few parameters, by Optuna."""
    figure = _optuna(charts.plot_slice, study, params, aim)
    for trace in figure.data:  # Optuna's colours are those of the trials' numbers
        scores = {"color": trace.y, "colorscale": COLOURS, "showscale": False}
        trace.marker = {**scores, "line": {"width": 0}}
    return figure.update_xaxes(exponentformat="e", tickangle=0)


def contour(study: Study, params: Sequence[str], aim: str) -> go.Figure:
    """The score over two parameters, by Optuna."""
    figure = _optuna(charts.plot_contour, study, params, aim)
    areas = {"colorscale": COLOURS, "reversescale": False}
    return figure.update_traces(areas, selector={"type": "contour"})


def parallel(trials: Sequence[FrozenTrial], space: Mapping[str, Dimension], aim: str) -> go.Figure:
    """All parameters and the score of complete trials, one line each."""
    scores = [trial.values[0] for trial in trials]
    lines = [_axis(name, [it.params.get(name) for it in trials], space[name]) for name in space]
    colours = {"color": scores, "colorscale": COLOURS, "showscale": True}
    figure = go.Figure(go.Parcoords(dimensions=[*lines, _values(aim, scores)], line=colours))
    return _plain(figure).update_layout(margin={"l": 70, "r": 40, "t": 60, "b": 30})


def _axis(name: str, values: list[Any], dimension: Dimension) -> dict[str, Any]:
    if isinstance(dimension, Choices):
        order = list(dimension.stored)
        texts = [str(plain_value(dimension.stored[value])) for value in order]
        places = [order.index(value) if value in order else None for value in values]
        return {
            "label": name,
            "values": places,
            "tickvals": list(range(len(order))),
            "ticktext": texts,
        }
    if dimension.log:
        present = [value for value in values if value is not None]  # a baseline may lie outside
        ends = min([dimension.low, *present]), max([dimension.high, *present])
        marks = np.geomspace(*ends, 5)
        return {
            "label": name,
            "values": [None if value is None else math.log10(value) for value in values],
            "range": [math.log10(end) for end in ends],
            "tickvals": np.log10(marks),
            "ticktext": [_mark(mark, isinstance(dimension, IntRange)) for mark in marks],
        }
    return _values(name, values)


def _mark(value: float, whole: bool) -> str:
    return f"{value:.0f}" if whole else f"{value:.2g}"


def _values(name: str, values: list[Any]) -> dict[str, Any]:
    return {"label": name, "values": values}


def last_score(trial: FrozenTrial) -> float | None:
    """A trial's first objective, or the last score of one that has none."""
    if trial.values:
        return float(trial.values[0])
    scores = list(trial.intermediate_values.values())
    return scores[-1] if scores else None


def as_html(figure: go.Figure) -> str:
    """A figure as a piece of a page that has plotly's script."""
    return str(
        figure.to_html(
            full_html=False,
            include_plotlyjs=False,
            config={"displaylogo": False, "responsive": True},
        )
    )


def _optuna(draw: object, study: Study, params: Sequence[str], aim: str) -> go.Figure:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure = draw(  # type: ignore[operator]
            study,
            params=list(params),
            target=lambda trial: trial.values[0],
            target_name=aim,
        )
    figure.update_layout(title=None, width=None)
    return _plain(figure)


def _titled(figure: go.Figure, x: str, y: str) -> go.Figure:
    figure.update_layout(xaxis_title=x, yaxis_title=y)
    return _plain(figure)


def _plain(figure: go.Figure) -> go.Figure:
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
        height=380,
    )
    return figure
