"""`study report`: everything about a study in one HTML file."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from plotly.offline import get_plotlyjs

from dcgan.evaluation.record import in_digits
from dcgan.runtime.files import write_text_atomic
from dcgan.runtime.html import data_uri
from dcgan.runtime.version import code_version
from dcgan.training.run.folder import RunFolder
from study.config.dimensions import Choices, Dimension, plain, plain_value
from study.config.study_config import StudyConfig
from study.evidence.agreement import ENOUGH
from study.report import figures
from study.report.closest import closest_photos
from study.report.explained import Explained, explain
from study.report.explained_words import beside_tables
from study.report.pictures import SAMPLES, photos, strips
from study.report.statistics import (
    RESAMPLES,
    Effect,
    choice_effects,
)
from study.report.verdict import verdict
from study.report.words import beside_photos, setting, words_of
from study.results.autopsy import autopsies
from study.results.compared import compared
from study.results.confirmed import Confirmation
from study.results.confirmed_words import sentences_of, table_of
from study.results.leaderboard import cells_of, rows_of
from study.results.sample_rows import counting_grid, shown_row, titled_rows
from study.results.traces import augmentations_of, told_traces
from study.results.winner import final_noise
from study.search.objective import is_pareto
from study.storage.attributes import stored_identity, study_config
from study.storage.optuna_db import finished_count
from study.storage.store import Store, StudyFolder, trial_name
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
    explained, identity = explain(study, store), stored_identity(study)
    about = _about_parameters(config, trials, explained)
    facts = {
        "name": study.study_name,
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "version": code_version(),
        "setting": setting(config),
        "beside_photos": beside_photos(rows, store.study(study.study_name)),
        "words": words_of(rows),
        "counts": Counter(trial.state.name for trial in trials),
        "total": config.study.trials,
        "pareto": is_pareto(study),
        **_tables(rows),
        **about,
        **_pictures(rows, store, study.study_name, config, identity.get("data.fingerprint")),
        "plots": _plots(study, config, trials, rows, about["importance"], about["no_effect_seen"]),
        "minutes": _minutes(rows),
        "identity": identity,
        "script": get_plotlyjs(),
        "finished": finished_count(study),
        "same_noise": "model.nz" not in config.space,
        "aim": "distance" if is_pareto(study) else "score",
    }
    told = autopsies(study)
    facts["autopsies"] = [(trial_name(it.number), told[it.number]) for it in rows[:MOST_ROWS]]
    where = store.study(study.study_name), identity.get("data.fingerprint")
    facts["bests"] = _bests(explained, rows, store.study(study.study_name))
    facts["traces"] = told_traces(config, rows, *where, augmentations_of(config))
    facts["verdict"] = verdict(rows, facts, final_noise(study).spread)
    facts["explained"] = list(beside_tables(explained))
    confirmed = Confirmation.read(study)
    known = confirmed is not None and confirmed.standings is not None
    facts["confirmed"] = confirmed if known else None
    facts["confirmed_rows"] = table_of(confirmed) if confirmed and known else []
    facts["confirmed_words"] = sentences_of(confirmed) if confirmed and known else []
    environment = Environment(
        loader=PackageLoader("study.report", "."), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("report.html.j2").render(facts)


def _bests(explained: Explained, rows: Sequence[TrialResult], folder: StudyFolder) -> str | None:
    """Samples of the trials that are best by different metrics, as a data URI; None without."""
    of = {row.number: row for row in rows}
    shown = {
        f"{trial_name(number)}, best by {', '.join(names)}": shown_row(
            counting_grid(RunFolder(folder.trial(number)), of[number])
        )
        for number, names in explained.bests.items()
    }
    return data_uri(titled_rows(shown)) if any(shown.values()) else None


def _tables(rows: Sequence[TrialResult]) -> dict[str, Any]:
    headings, body = cells_of(list(rows[:MOST_ROWS]))
    for line in (headings, *body):
        line.insert(1, line.pop())  # the origin, so that baselines are seen in a narrow window
    reasons = Counter(_kind(row.reason) for row in rows if row.reason).most_common()
    return {
        "headings": headings,
        "leaderboard": [
            (cells, row.is_baseline) for cells, row in zip(body, rows[:MOST_ROWS], strict=True)
        ],
        "left_out": len(rows) - len(body),
        "reasons": reasons[:MOST_REASONS],
        "more_reasons": len(reasons) - MOST_REASONS,
    }


def _kind(reason: str) -> str:
    """A reason up to its first number or detail, so that equal ones count together."""
    kind = re.split(r"[:(0-9]| since epoch", reason, maxsplit=1)[0].strip()
    return kind or reason


def _about_parameters(
    config: StudyConfig,
    trials: Sequence[FrozenTrial],
    explained: Explained,
) -> dict[str, Any]:
    space = {config.short_name(key): item for key, item in config.space.items()}
    alike = compared(config, trials)
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    return {
        "enough": ENOUGH,
        "resamples": RESAMPLES,
        "rests_on": explained.rests_on,
        "importance": explained.importance,
        "no_effect_seen": explained.no_effect_seen,
        "effects": [_in_words(it, space, pruned) for it in choice_effects(alike.trials, space)],
        "edges": explained.edges,
        "correlation": explained.balance,
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
    rows: Sequence[TrialResult],
    store: Store,
    name: str,
    config: StudyConfig,
    fingerprint: str | None = None,
) -> dict[str, Any]:
    folder = store.study(name)
    found = strips(list(rows), folder)
    lines = {key: strip.line for key, strip in found.items()}
    closest = closest_photos(lines, config.base.data, fingerprint)
    known = [row for row in rows if row.number in found]
    shown = {
        row.number: {
            "title": f"{trial_name(row.number)} · {row.state.name.lower()}",
            "score": "" if row.score is None else in_digits(row.score),
            "origin": row.origin,
            "baseline": row.is_baseline,
            "strip": found[row.number].by_epoch,
            "distances": found[row.number].distances,
            "closest": closest.by_trial.get(row.number, []),
            "params": {
                **{name: in_digits(it) for name, it in list(row.distances.items())[:1]},
                **{name: f"{it:.3f}" for name, it in row.metrics.items()},
                **{key: plain(plain_value(it)) for key, it in row.shown_params.items()},
            },
        }
        for row in known
    }
    epochs = sorted({epoch for strip in found.values() for epoch in strip.by_epoch})
    return {
        "pictures": list(shown),
        "data": _as_script({"trials": shown, "epochs": epochs, "photos": closest.photos}),
        "closest": bool(closest.photos),
        "no_closest": closest.missing,
        "without": len(rows) - len(known),
        "epochs": epochs,
        "photos": photos(known, folder),
        "samples": SAMPLES,
    }


def _as_script(data: dict[str, Any]) -> str:
    """JSON that can stand between script tags."""
    return json.dumps(data).replace("<", "\\u003c")


def _plots(
    study: Study,
    config: StudyConfig,
    trials: Sequence[FrozenTrial],
    rows: Sequence[TrialResult],
    important: Iterable[str],
    unclear: Collection[str],
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
        text = f"The best complete trial is red, pruned ones are grey; at most {figures.CURVES}."
        made.append(("Learning curves", text, lambda: figures.curves(scored)))
    if len(complete) >= 2:
        text = f"One line a trial; red lines have a low {aim}."
        made.append(("All parameters", text, lambda: figures.parallel(complete, space, aim)))
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
        both = f"{ranked[0]} and {ranked[1]}"
        chance = " by chance, perhaps" if ranked[1] in unclear else ""
        text = (
            f"{both} have the largest importance{chance}; points are trials. Between them the "
            "colours are "
            f"interpolated from {len(complete)} trials, and far from every point they say nothing."
        )
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
