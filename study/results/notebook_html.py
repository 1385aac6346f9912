"""The HTML of a study and of a trial in a notebook, at most about 300 kB."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from optuna.study import Study
from optuna.trial import TrialState
from PIL import Image

from dcgan.runtime import html
from dcgan.training.run.folder import RunFolder
from study.errors import StudyError
from study.results.comparison import comparison
from study.results.leaderboard import best_rows_of, cells_of
from study.results.sample_rows import grids_by_epoch, row_title, shown_row
from study.results.wording import standing
from study.search.objective import is_pareto
from study.storage.attributes import study_config
from study.storage.optuna_db import FINISHED
from study.storage.store import trial_name
from study.storage.trial_result import TrialResult
from study.storage.trial_summaries import outcomes_of

MOST_ROWS = 20
MOST_REASONS = 3
MOST_EPOCHS = 4
"""Rows of samples of one trial."""
BASELINE = "◆"
"""Stands behind the name of a baseline, whose row is also in bold."""
NO_PICTURES = (
    "No samples: no trial shown here has been scored, or the folders are on another machine or "
    "were deleted."
)


def progress_of(study: Study) -> str:
    """How many trials are finished, and the best score so far, in words."""
    trials = outcomes_of(study)
    finished = sum(trial.state in FINISHED for trial in trials)
    try:
        total = f" of {study_config(study).study.trials}"
    except StudyError:  # not begun, or of another release: its trials can still be shown
        total = ""
    return f"{finished}{total} trials finished, {standing(study, trials)}"


def study_html(study: Study, pictures: Mapping[str, Image.Image | None]) -> str:
    """The best rows of the leaderboard, why trials failed, and pictures by their captions."""
    rows, others = best_rows_of(study, MOST_ROWS)
    parts = [html.heading(study.study_name), html.sentence(f"{progress_of(study)}.")]
    if not rows:
        return html.shown(*parts, html.sentence("No trial has begun."))
    marked = [index for index, row in enumerate(rows) if row.is_baseline]
    headings, body = cells_of(rows)
    for index in marked:
        body[index][0] += f" {BASELINE}"
    parts += [html.table(headings, body, marked), html.sentence(_legend(study, others))]
    parts += map(html.sentence, _failures(rows))
    found = [html.figure(picture, title) for title, picture in pictures.items() if picture]
    return html.shown(*parts, *(found or [html.sentence(NO_PICTURES)]))


def trial_html(trial: TrialResult, folder: RunFolder) -> str:
    """A trial's numbers and parameters, why it ended, and samples of a few evaluations."""
    heading, *rows = comparison([(trial_name(trial.number), trial)])
    reason = [html.sentence(f"Why it ended: {trial.reason}")] if trial.reason else []
    pictures = [
        html.figure(picture, f"epoch {epoch}")
        for epoch, path in grids_by_epoch(folder, MOST_EPOCHS).items()
        if (picture := shown_row(path))
    ]
    return html.shown(
        html.heading(row_title(trial)),
        html.table(heading, [[name.strip("()"), value] for name, value in rows]),
        *reason,
        *(pictures or [html.sentence(NO_PICTURES)]),
    )


def _legend(study: Study, others: Counter[TrialState]) -> str:
    lower = "The front comes first" if is_pareto(study) else "Best first; lower scores are better"
    left = ", ".join(f"{count} {state.name.lower()}" for state, count in others.items())
    more = f" {others.total()} more trials are not shown: {left}." if left else ""
    return f"{lower}. {BASELINE} marks a baseline.{more}"


def _failures(rows: Sequence[TrialResult]) -> list[str]:
    """A sentence for each of the most frequent reasons of failed trials."""
    failed = [row for row in rows if row.state == TrialState.FAIL]
    reasons = Counter(row.reason or "no reason is recorded" for row in failed)
    return [f"{count} failed: {why}" for why, count in reasons.most_common(MOST_REASONS)]
