"""The trials of a study, best first: as rows, as a terminal table, as markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState

from study.results.wording import number, plain
from study.search.objective import is_pareto, trial_score
from study.search.pareto import front_of
from study.storage.attributes import METRICS_ATTRIBUTE
from study.storage.store import trial_name
from study.storage.trial_summaries import TrialSummary, outcomes_of, summaries_of

if TYPE_CHECKING:
    from optuna.study import Study
ORDER = {
    TrialState.COMPLETE: 0,
    TrialState.PRUNED: 1,
    TrialState.RUNNING: 2,
    TrialState.WAITING: 3,
    TrialState.FAIL: 4,
}
SHOWN_ROWS = 50
"""How many trials a terminal shows unless all are wished for."""


@dataclass(frozen=True)
class Row:
    """One trial of the leaderboard. Scores of pruned trials are from the epoch they reached."""

    number: int
    state: str
    score: float | None
    front: bool | None
    """Whether it is on the front; none in a study that minimises one score."""
    metric: str | None
    """Name of the distance that is minimised beside the imbalance; else none."""
    distances: dict[str, float]
    """`fd_…` or `fid`, and the kernel distance, of the last evaluation."""
    imbalance: float | None
    epoch: int | None
    params: dict[str, Any]
    minutes: float | None
    origin: str
    """`sampler`, or the baseline's name."""
    reason: str | None
    run_id: str | None
    metrics: dict[str, float]
    """Metrics that are shown beside the distance, of the last evaluation."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def rows_of(study: Study) -> list[Row]:
    """All trials: complete ones by score, then pruned by score, then the rest by number.

    With two objectives, the front by distance leads, then the other complete ones by distance.
    """
    trials = summaries_of(study)
    front = _front(study, trials)
    return [_row(trial, front) for trial in sorted(trials, key=lambda item: _rank(item, front))]


def best_rows_of(study: Study, limit: int = SHOWN_ROWS) -> tuple[list[Row], Counter[str]]:
    """The first rows of the leaderboard, without reading all there is of the others.

    Returns:
        The rows, and how many trials of which state come after them.
    """
    outcomes = outcomes_of(study)
    front = _front(study, outcomes)
    ranked = sorted(outcomes, key=lambda item: _rank(item, front))
    chosen = summaries_of(study, {trial.number for trial in ranked[:limit]})
    rows = [_row(trial, front) for trial in sorted(chosen, key=lambda item: _rank(item, front))]
    return rows, Counter(trial.state.name for trial in ranked[limit:])


def _front(study: Study, trials: list[TrialSummary]) -> set[int] | None:
    return {trial.number for trial in front_of(trials)} if is_pareto(study) else None


def _rank(trial: TrialSummary, front: set[int] | None) -> tuple[int, bool, float, int]:
    value = trial.values[0] if trial.values else trial_score(trial)
    dominated = front is not None and trial.number not in front
    return ORDER[trial.state], dominated, float("inf") if value is None else value, trial.number


def _row(trial: TrialSummary, front: set[int] | None) -> Row:
    facts = trial.user_attrs
    distances = distances_of(facts)
    params = trial.params or trial.fixed_params
    return Row(
        number=trial.number,
        state=trial.state.name,
        score=trial_score(trial),
        front=None if front is None else trial.number in front,
        metric=facts.get("metric"),
        distances=distances,
        imbalance=facts.get("imbalance"),
        epoch=facts.get("epoch"),
        params=dict(params),
        minutes=facts.get("minutes"),
        origin=facts.get("baseline") or "sampler",
        reason=facts.get("reason"),
        run_id=facts.get("run_id"),
        metrics=facts.get(METRICS_ATTRIBUTE, {}),
    )


def distances_of(facts: Mapping[str, Any]) -> dict[str, float]:
    """The distances among a trial's attributes: `fd_…`, `kd_…`, `fid…`, `kid…`."""
    return {key: facts[key] for key in facts if key.startswith(("fd_", "kd_", "fid", "kid"))}


def cells_of(rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    """Headings and formatted cells.

    The distance that is minimised is shown, else the Fréchet distance.
    """
    named = (row.metric or next(filter(_is_frechet, row.distances), None) for row in rows)
    metric = next(filter(None, named), None)  # none before the first score
    others = list(dict.fromkeys(name for row in rows for name in row.metrics))
    names = list(dict.fromkeys(name for row in rows for name in row.params))
    mark = ["front"] if any(row.front is not None for row in rows) else []
    headings = ["trial", "state", *mark, "score", metric or "distance"]
    headings += [*others, "imbalance", "epoch", *names, "minutes", "origin"]
    body = []
    for row in rows:
        distance = row.distances.get(metric) if metric else None
        cells = [trial_name(row.number), row.state.lower()]
        cells += ["yes" if row.front else ""] if mark else []
        cells += [number(row.score, 3), number(distance, 3)]
        cells += [number(row.metrics.get(name), 3) for name in others]
        cells += [number(row.imbalance, 2), "" if row.epoch is None else str(row.epoch)]
        cells += [plain(row.params.get(name)) for name in names]
        body.append([*cells, number(row.minutes, 1), row.origin])
    return headings, body


def _is_frechet(name: str) -> bool:
    return name.startswith(("fd_", "fid"))


def as_markdown(rows: list[Row]) -> str:
    """The leaderboard as a markdown table."""
    headings, body = cells_of(rows)
    lines = [headings, ["---"] * len(headings), *body]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
