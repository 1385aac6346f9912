"""The trials of a study, best first: as rows, as a terminal table, as markdown."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from optuna.study import Study
from optuna.trial import TrialState

from dcgan.evaluation.record import in_digits
from study.config.dimensions import plain
from study.results.wording import number
from study.search.objective import is_pareto
from study.search.pareto import front_of
from study.storage.store import trial_name
from study.storage.trial_result import TrialResult
from study.storage.trial_summaries import outcomes_of, summaries_of

ORDER = {
    TrialState.COMPLETE: 0,
    TrialState.PRUNED: 1,
    TrialState.RUNNING: 2,
    TrialState.WAITING: 3,
    TrialState.FAIL: 4,
}
SHOWN_ROWS = 50
"""How many trials a terminal shows unless you ask for all."""


def rows_of(study: Study) -> list[TrialResult]:
    """All trials: complete ones by score, then pruned ones by score, then the rest by number.

    With several objectives, the front by distance leads, then the other complete ones by distance.
    """
    trials = summaries_of(study)
    return _ranked(trials, _front(study, trials))


def best_rows_of(
    study: Study, limit: int = SHOWN_ROWS
) -> tuple[list[TrialResult], Counter[TrialState]]:
    """The first rows of the leaderboard, and how many trials of which state come after them.

    It does not read all facts of the others.
    """
    outcomes = outcomes_of(study)
    front = _front(study, outcomes)
    ranked = _ranked(outcomes, front)
    chosen = summaries_of(study, {trial.number for trial in ranked[:limit]})
    return _ranked(chosen, front), Counter(trial.state for trial in ranked[limit:])


def _front(study: Study, trials: list[TrialResult]) -> set[int] | None:
    return {trial.number for trial in front_of(trials)} if is_pareto(study) else None


def _ranked(trials: list[TrialResult], front: set[int] | None) -> list[TrialResult]:
    """Trials in the leaderboard's order, marked where they are on the front."""
    if front is not None:
        trials = [replace(trial, front=trial.number in front) for trial in trials]
    return sorted(trials, key=_rank)


def _rank(trial: TrialResult) -> tuple[int, bool, float, int]:
    value = trial.values[0] if trial.values else trial.score
    dominated = trial.front is False
    return ORDER[trial.state], dominated, float("inf") if value is None else value, trial.number


def cells_of(rows: list[TrialResult]) -> tuple[list[str], list[list[str]]]:
    """Headings and formatted cells.

    The distance that is minimised is shown, else the Fréchet distance.
    """
    named = (row.metric or next(filter(_is_frechet, row.distances), None) for row in rows)
    metric = next(filter(None, named), None)  # None before the first score
    others = list(dict.fromkeys(name for row in rows for name in row.metrics))
    names = list(dict.fromkeys(name for row in rows for name in row.shown_params))
    mark = ["front"] if any(row.front is not None for row in rows) else []
    rung = ["rung"] if any(row.rung or row.went_on or row.ended_on for row in rows) else []
    headings = ["trial", "state", *mark, "score", metric or "distance"]
    headings += [*others, "imbalance", *rung, "epoch", *names, "minutes", "origin"]
    body = []
    for row in rows:
        distance = row.distances.get(metric) if metric else None
        cells = [trial_name(row.number), row.state.name.lower()]
        cells += ["yes" if row.front else ""] if mark else []
        cells += ["" if value is None else in_digits(value) for value in (row.score, distance)]
        cells += [number(row.metrics.get(name), 3) for name in others]
        cells += [number(row.imbalance, 2), *(str(row.on_rung) for _ in rung)]
        cells += ["" if row.epoch is None else str(row.epoch)]
        cells += [plain(row.shown_params.get(name)) for name in names]
        body.append([*cells, number(row.minutes, 1), " ".join(row.origin.split())])
    return headings, body


def _is_frechet(name: str) -> bool:
    return name.startswith(("fd_", "fid"))


def flat(row: TrialResult) -> dict[str, Any]:
    """A trial as one line of a table: parameters, distances and metrics have their own names."""
    plain = row.as_dict()
    nested = {key: plain.pop(key) or {} for key in ("params", "distances", "metrics")}
    front = {} if row.front is None else {"front": row.front}
    rung = {} if plain["rung"] is None else {"rung": plain["rung"]}
    return {
        **{key: plain[key] for key in ("number", "state", "score")},
        **front,
        **nested["params"],
        **nested["distances"],
        **nested["metrics"],
        "imbalance": plain["imbalance"],
        **rung,
        **{key: plain[key] for key in ("epoch", "minutes", "origin", "reason")},
        "run_id": plain["run_id"],
    }


def as_markdown(rows: list[TrialResult]) -> str:
    """The leaderboard as a markdown table."""
    headings, body = cells_of(rows)
    lines = [headings, ["---"] * len(headings), *body]
    escaped = [[cell.replace("|", "\\|") for cell in cells] for cells in lines]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in escaped)
