"""The named views of a study's runs page in MLflow: leaderboard, samples, what mattered.

MLflow keeps a view as a tag of the experiment: its name and the page's state (order, columns, chart
cards, sections). The format is MLflow's own and not documented. It is written here only, and a test
opens each view in a browser. `TESTED` names the minor versions for which that was done; for others
the link to the plain charts page is used.
"""

from __future__ import annotations

import base64
import json
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, uuid5

TESTED = ("3.17",)
"""Minor versions of MLflow whose pages were seen to understand these views."""
NAMES = {
    "leaderboard": ("Leaderboard", "TABLE"),
    "samples": ("Samples", "CHART"),
    "what-mattered": ("What mattered", "CHART"),
}
"""Key of a view → its name, and the mode of the runs page in which it is opened."""
TAG_PREFIX = "mlflow.sharedViewState."
TAG_LIMIT = 5000
"""Characters of an experiment's tag."""
FIRST_VIEW = TAG_PREFIX + next(iter(NAMES))
SCORE = "eval/score"
"""Every scored trial has it, a pruned one, too."""
OBJECTIVE = "objective"
RUNG = "rung"
"""The rung, from 1, on which a trial waits or has ended; only in a study with rungs."""
FINAL_SAMPLES = "final_samples"
"""Key of a trial's closing picture. It has one step, 0, on which MLflow's image cards open."""
SAMPLES = "samples/fixed_noise"
"""Key of the pictures at step 0 and at each evaluation."""
PICTURES = (FINAL_SAMPLES, SAMPLES)
TRIALS_ONLY = "tags.kind = 'trial'"
"""The filter of all views; otherwise trials are folded under their parent."""
MANY_RUNS = 1000
"""MLflow draws no more runs in a chart."""
FIRST_COLUMNS = ("0", "attributes.`Run Name`")
"""MLflow's ids of the table's tick boxes and names."""
LAST_COLUMNS = ("runDateAndNestInfo", "duration")
WIDTHS = {"tags.`reason`": 300}
"""Pixels; MLflow gives 100 to a column."""
Card = dict[str, Any]


@dataclass(frozen=True)
class Space:
    """What a study's trials differ in, and what they are scored by, by MLflow's names."""

    params: Sequence[str]
    """The searched parameters."""
    log10: Mapping[str, str]
    """Parameter → metric that holds its logarithm, where there is one."""
    distance: str
    """The metric of the distance, such as `eval/fd_joint`."""
    first_step: int = 0
    """Of a picture of every scored trial: its card opens there. Step 0 shows untrained networks."""


class Group(NamedTuple):
    """A section of charts."""

    title: str
    columns: int
    """Cards side by side."""
    height: int
    """Of a card, in pixels."""
    cards: list[Card]


def view_tags(space: Space, metrics: Iterable[str], present: Mapping[str, str]) -> dict[str, str]:
    """The tags of a study's experiment that hold its views.

    `metrics` are all that its runs have: MLflow adds a card for each one that a view does not name.
    `present` are the experiment's tags; an unchanged view keeps its value. A view that is too long
    for a tag is left out.
    """
    known = set(metrics)
    states = {
        "leaderboard": _leaderboard(space, known),
        "samples": _samples(space, known),
        "what-mattered": _what_mattered(space, known),
    }
    tags = {TAG_PREFIX + key: (NAMES[key][0], state) for key, state in states.items()}
    made = {key: _envelope(*view, present.get(key)) for key, view in tags.items()}
    return {key: value for key, value in made.items() if len(value) <= TAG_LIMIT}


def _envelope(name: str, state: Mapping[str, Any], present: str | None) -> str:
    """The value of a view's tag; `present` is what it holds now."""
    text = json.dumps(state, sort_keys=True, separators=(",", ":")).encode()
    packed = "deflate;" + base64.b64encode(zlib.compress(text, 9)).decode("ascii")
    now = int(time.time() * 1000)
    made = {"name": name, "createdAt": now, "updatedAt": now, "state": packed}
    try:
        old = json.loads(present or "{}")
    except ValueError:
        old = {}
    if isinstance(old, dict):
        made["createdAt"] = old.get("createdAt", now)
        if {**old, "updatedAt": now} == made:
            return str(present)
    return json.dumps(made)


def _leaderboard(space: Space, metrics: set[str]) -> dict[str, Any]:
    columns = [
        *_columns("tags", ("optuna.state",)),
        *_columns("metrics", [RUNG] if RUNG in metrics else []),
        *_columns("metrics", (OBJECTIVE, space.distance, "eval/recognised", "eval/imbalance")),
        *_columns("params", space.params),
        *_columns("tags", ("baseline", "reason")),
        *_columns("metrics", ("minutes",)),
    ]
    return _state(columns)


def _samples(space: Space, metrics: set[str]) -> dict[str, Any]:
    # With the parameters below them, MLflow puts only one picture into a row.
    image = {"type": "IMAGE", "showRunParams": False}
    final = image | {"imageKeys": [FINAL_SAMPLES], "step": 0}
    over_training = image | {"imageKeys": [SAMPLES], "step": space.first_step}
    sections = [
        Group("Final samples", 1, 520, [final]),
        Group("Samples over training", 1, 520, [over_training]),
    ]
    return _state([], sections, metrics)


def _what_mattered(space: Space, metrics: set[str]) -> dict[str, Any]:
    plain = [name for name in space.params if name not in space.log10]
    rates = [space.log10[name] for name in space.params if name in space.log10]
    parallel = {
        "type": "PARALLEL",
        "selectedParams": plain,
        "selectedMetrics": [*rates, SCORE],
        "showAllRuns": True,
        "displayName": "All trials: parameters and score",
    }
    scatters = [
        {"type": "SCATTER", "xaxis": axis, "yaxis": {"key": SCORE, "type": "METRIC"}}
        for axis in (
            *({"key": name, "type": "METRIC"} for name in rates),
            *({"key": name, "type": "PARAM"} for name in plain),
        )
    ]
    curves = [
        *(_line([name]) for name in (space.distance, "eval/recognised", "eval/imbalance")),
        _line(["train/loss_g"], smooth=60),
        _line(["train/loss_d"], smooth=60),
    ]
    sections = [
        Group("All trials", 1, 420, [parallel]),
        Group("Each parameter against the score", 3, 300, scatters),
        Group("Curves", 3, 300, curves),
    ]
    return _state([], sections, metrics)


def _line(metrics: list[str], smooth: int = 0) -> Card:
    return {
        "type": "LINE",
        "metricKey": metrics[0],
        "selectedMetricKeys": metrics,
        "lineSmoothness": smooth,
        "useGlobalLineSmoothing": False,
        "useGlobalXaxisKey": True,
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "range": {},
        "ignoreOutliers": False,
    }


def _columns(kind: str, names: Iterable[str]) -> list[str]:
    return [f"{kind}.`{name}`" for name in names]


def _state(
    columns: list[str], groups: Sequence[Group] = (), metrics: Iterable[str] = ()
) -> dict[str, Any]:
    """The page's state: what every view shares, its columns, and its sections with their cards.

    A deleted card for each other metric and picture keeps MLflow from adding its own.
    """
    cards = [
        _card(card, _id(group.title), index)
        for group in groups
        for index, card in enumerate(group.cards)
    ]
    if groups:
        shown = {card.get("metricKey") for card in cards}
        shown |= {key for card in cards for key in card.get("imageKeys", ())}
        others: list[Card] = [
            *({"type": "BAR", "metricKey": name} for name in sorted(set(metrics) - shown)),
            *({"type": "IMAGE", "imageKeys": [it]} for it in PICTURES if it not in shown),
        ]
        last = _id(groups[-1].title)
        cards += [
            _card(card | {"deleted": True}, last, f"other {index}")
            for index, card in enumerate(others)
        ]
    return {
        "orderByKey": f"metrics.`{OBJECTIVE}`",
        "orderByAsc": True,
        "searchFilter": TRIALS_ONLY,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": [*FIRST_COLUMNS, *columns, *LAST_COLUMNS] if columns else [],
        "columnWidths": {name: width for name, width in WIDTHS.items() if name in columns},
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": cards,
        "compareRunSections": [_section(group) for group in groups],
        "isAccordionReordered": True,
        "viewMaximized": False,
        "runListHidden": False,
        "groupBy": None,
        "groupsExpanded": {},
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "autoRefreshEnabled": True,
        "globalLineChartConfig": {
            "xAxisKey": "step",
            "lineSmoothness": 0,
            "selectedXAxisMetricKey": "",
        },
    }


def _section(group: Group) -> dict[str, Any]:
    return {
        "uuid": _id(group.title),
        "name": group.title,
        "columns": group.columns,
        "cardHeight": group.height,
        "display": True,
        "isReordered": True,
        "deleted": False,
        "isGenerated": False,
    }


def _card(card: Card, section: str, index: int | str) -> Card:
    return {
        "uuid": _id(f"{section} {index}"),
        "metricSectionId": section,
        "deleted": False,
        "isGenerated": False,
        "runsCountToCompare": MANY_RUNS,
        **card,
    }


def _id(name: str) -> str:
    """The same for the same name, so that an unchanged view is not written again."""
    return str(uuid5(NAMESPACE_URL, name))
