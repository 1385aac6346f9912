"""`study report`: everything about a study in one HTML file."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from plotly.offline import get_plotlyjs

from dcgan.evaluation.record import in_digits
from dcgan.runtime.files import write_text_atomic
from dcgan.runtime.version import code_version
from study.config.dimensions import Choices, Dimension, check_dimension, plain, plain_value
from study.config.study_config import StudyConfig
from study.report import figures
from study.report.pictures import SAMPLES, photos, strips
from study.report.statistics import (
    ENOUGH,
    Effect,
    choice_effects,
    edges,
    importances,
    rank_correlation,
)
from study.results.leaderboard import cells_of, rows_of
from study.search.objective import is_pareto
from study.storage.attributes import stored_identity, study_config
from study.storage.optuna_db import finished_count
from study.storage.store import Store, trial_name
from study.storage.trial_result import TrialResult

SLICES = 4
"""Parameters side by side."""
MOST_REASONS = 12
MOST_ROWS = 200
"""Rows of the leaderboard in a report."""


def write_report(study: Study, store: Store, path: Path) -> None:
    """Write the report of a study as it is now. Raises `OSError` if the file cannot be written."""
    write_text_atomic(path, render(study, store))


def render(study: Study, store: Store) -> str:
    """The page."""
    config = study_config(study)
    trials = study.get_trials(deepcopy=False)
    rows = rows_of(study)
    about = _about_parameters(config, trials, rows)
    facts = {
        "name": study.study_name,
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "version": code_version(),
        "counts": Counter(trial.state.name for trial in trials),
        "total": config.study.trials,
        "pareto": is_pareto(study),
        **_tables(rows),
        **about,
        **_pictures(rows, store, study.study_name, config),
        "plots": _plots(study, config, trials, rows, about["importance"]),
        "minutes": _minutes(rows),
        "identity": stored_identity(study),
        "script": get_plotlyjs(),
        "finished": finished_count(study),
        "same_noise": "model.nz" not in config.space,
        "aim": "distance" if is_pareto(study) else "score",
    }
    facts["verdict"] = verdict(rows, facts)
    environment = Environment(
        loader=PackageLoader("study.report", "."), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("report.html.j2").render(facts)


def verdict(rows: Sequence[TrialResult], facts: dict[str, Any]) -> list[str]:
    """At most three sentences: which trial is best, how sure that is, what to do next."""
    complete = [row for row in rows if row.state == TrialState.COMPLETE]
    if not complete:
        failed = facts["counts"]["FAIL"]
        why = f" {failed} failed; the reasons are below." if failed else ""
        return [f"No trial is complete yet.{why}"]
    if facts["pareto"]:
        front = [row for row in complete if row.front]
        nearest = front[0]
        return [
            f"{len(front)} of {len(complete)} complete trials are on the front: no other trial is "
            "better in every objective.",
            f"The nearest to the photos is {trial_name(nearest.number)}, {_is(nearest)}.",
        ]
    best, count = complete[0], len(complete)
    whole = "The only complete trial" if count == 1 else f"The best of {count} complete trials"
    said = [f"{whole} is {trial_name(best.number)}, {_is(best)}."]
    if sentence := _beside_baseline(complete):
        said.append(sentence)
    if near := facts["edges"]:
        names = ", ".join(edge.name for edge in near)
        said.append(f"Search on: the best value of {names} is at the end of its range.")
    return said


def _beside_baseline(complete: Sequence[TrialResult]) -> str:
    """The best trial beside the best baseline; empty where there is nothing to compare."""
    best = complete[0]
    rival = next((row for row in complete if row.baseline), None)
    if rival is None or best.score is None or rival.score is None:
        return ""
    if rival is best:
        searched = any(not row.baseline for row in complete)
        found = ": the search has found nothing better" if searched else ""
        return f"It is the baseline “{best.baseline}”{found}."
    against = f"the best baseline, “{rival.baseline}” ({in_digits(rival.score)})"
    luck = (
        "One run of each does not say how much of that is chance: the best of many trials is "
        "partly luck."
    )
    if best.score > 0 and rival.score > 0:  # a kernel distance may be below 0
        return (
            f"Its score is {1 - best.score / rival.score:.0%} lower than that of {against}. {luck}"
        )
    return f"Its score is lower than that of {against}. {luck}"


def _is(row: TrialResult) -> str:
    values = [f"score {in_digits(row.score)}"] if row.score is not None else []
    values += [f"{name} {in_digits(value)}" for name, value in list(row.distances.items())[:1]]
    if "recognised" in row.metrics:
        values.append(f"{row.metrics['recognised']:.1%} of its images recognised")
    return ", ".join(values)


def _tables(rows: Sequence[TrialResult]) -> dict[str, Any]:
    headings, body = cells_of(list(rows[:MOST_ROWS]))
    reasons = Counter(_kind(row.reason) for row in rows if row.reason).most_common()
    return {
        "headings": headings,
        "leaderboard": [
            (cells, bool(row.baseline)) for cells, row in zip(body, rows[:MOST_ROWS], strict=True)
        ],
        "left_out": len(rows) - len(body),
        "reasons": reasons[:MOST_REASONS],
        "more_reasons": len(reasons) - MOST_REASONS,
    }


def _kind(reason: str) -> str:
    """A reason up to its first number or detail, so that equal ones count together."""
    return re.split(r"[:(0-9]", reason, maxsplit=1)[0].strip() or reason


def _about_parameters(
    config: StudyConfig,
    trials: Sequence[FrozenTrial],
    rows: Sequence[TrialResult],
) -> dict[str, Any]:
    space = {config.short_name(key): item for key, item in config.space.items()}
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.values]
    best = next((row.params for row in rows if row.state == TrialState.COMPLETE), {})
    pairs = [
        (trial.values[0], trial.user_attrs["imbalance"])
        for trial in complete
        if trial.user_attrs.get("imbalance") is not None
    ]
    keys = {config.short_name(key): key for key in config.space}

    def allowed(name: str, wider: Dimension) -> bool:
        try:
            check_dimension(keys[name], wider, config.base)
        except ValueError:
            return False
        return True

    single = config.objective.mode == "score" and len(complete) >= ENOUGH
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    return {
        "enough": ENOUGH,
        "complete": len(complete),
        "importance": importances(complete),
        "effects": [_in_words(it, space, pruned) for it in choice_effects(complete, space)],
        "edges": edges(best, space, allowed) if single else [],
        "correlation": rank_correlation([a for a, _ in pairs], [b for _, b in pairs]),
    }


def _in_words(
    effect: Effect, space: Mapping[str, Dimension], pruned: Sequence[FrozenTrial]
) -> dict[str, Any]:
    dimension = space[effect.name]
    assert isinstance(dimension, Choices)
    value = plain(plain_value(dimension.stored.get(effect.value, effect.value)))
    with_it = sum(trial.params.get(effect.name) == effect.value for trial in pruned)
    interval = f"{effect.change:+.0%} ({effect.low:+.0%} to {effect.high:+.0%})"
    return {
        "name": f"{effect.name} = {value}",
        "change": interval,
        "trials": f"{effect.trials} and {effect.others}",
        "pruned": f"{with_it} and {len(pruned) - with_it}",
        "verdict": effect.verdict,
    }


def _pictures(
    rows: Sequence[TrialResult], store: Store, name: str, config: StudyConfig
) -> dict[str, Any]:
    folder = store.study(name)
    found = strips(list(rows), folder)
    known = [row for row in rows if row.number in found]
    shown = {
        row.number: {
            "title": f"{trial_name(row.number)} · {row.state.name.lower()}",
            "score": "" if row.score is None else in_digits(row.score),
            "origin": row.origin,
            "strip": found[row.number].by_epoch,
            "params": {key: plain(plain_value(it)) for key, it in row.shown_params.items()},
        }
        for row in known
    }
    epochs = sorted({epoch for strip in found.values() for epoch in strip.by_epoch})
    return {
        "pictures": list(shown),
        "data": json.dumps({"trials": shown, "epochs": epochs}).replace("<", "\\u003c"),
        "without": len(rows) - len(known),
        "epochs": epochs,
        "photos": photos(known, folder),
        "samples": SAMPLES,
    }


def _plots(
    study: Study,
    config: StudyConfig,
    trials: Sequence[FrozenTrial],
    rows: Sequence[TrialResult],
    important: Iterable[str],
) -> list[tuple[str, str, str]]:
    """(Title, explanation, HTML) of each chart that there is something to show for."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.values]
    scored = [trial for trial in trials if figures.last_score(trial) is not None]
    known = {name for trial in complete for name in trial.params}  # a space may have been widened
    space = {config.short_name(key): item for key, item in config.space.items()}
    space = {name: item for name, item in space.items() if name in known}
    names = list(space)
    ranked = [name for name in important if name in known] or names
    aim = "distance" if is_pareto(study) else "score"
    made: list[tuple[str, str, Callable[[], Any]]] = []
    if scored:
        title = f"{aim.capitalize()} over trials"
        made.append((title, "Lower is better.", lambda: figures.history(trials, aim)))
    if any(trial.intermediate_values for trial in scored):
        text = f"The best is drawn in colour; at most {figures.CURVES} are drawn."
        made.append(("Learning curves", text, lambda: figures.curves(scored)))
    if len(complete) >= 2:
        made.append(
            ("All parameters", "One line a trial.", lambda: figures.parallel(complete, space, aim))
        )
        for start in range(0, len(names), SLICES):
            some = names[start : start + SLICES]
            title, text = ("", "") if start else ("Each parameter", "One point a trial.")
            made.append((title, text, partial(figures.slices, study, some, aim)))
        pairs = [row for row in rows if row.imbalance is not None and row.distances]
        distances = [next(iter(row.distances.values())) for row in pairs]
        imbalances = [row.imbalance for row in pairs if row.imbalance is not None]
        made.append(
            ("Balance against distance", "", lambda: figures.balance(distances, imbalances))
        )
    if len(complete) >= ENOUGH and len(ranked) >= 2:
        text = "The two most important parameters."
        made.append(("Two parameters", text, lambda: figures.contour(study, ranked[:2], aim)))
    return [(title, text, figures.as_html(draw())) for title, text, draw in made]


def _minutes(rows: Sequence[TrialResult]) -> list[tuple[str, int, float]]:
    """Outcome, number of trials, minutes."""
    counts: Counter[str] = Counter()
    spent: Counter[str] = Counter()
    for row in rows:
        counts[row.state.name.lower()] += 1
        spent[row.state.name.lower()] += row.minutes or 0.0  # type: ignore[assignment]
    return [(state, counts[state], float(spent[state])) for state in counts]
