"""Scores of trainings that were named beforehand: repeated configs, each on a seed of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import optuna
from optuna.study import Study
from optuna.trial import TrialState

from study.config.study_config import StudyConfig
from study.storage.attributes import stored_config
from study.storage.optuna_db import storage_of
from study.storage.trial_result import TrialResult
from study.storage.trial_summaries import summaries_of

COLLAPSED = 1.5
"""A training that collapsed counts as a score this much above the worst of all."""


_WHOLE, _EARLY = TrialState.COMPLETE, TrialState.PRUNED


def read_repeats(study: Study, name: str) -> tuple[StudyConfig, list[TrialResult]] | None:
    """Config and trials of the study of that name in a study's database; None if none has begun."""
    storage = storage_of(study)
    if name not in optuna.get_all_study_names(storage):
        return None
    repeats = optuna.load_study(study_name=name, storage=storage)
    config = stored_config(repeats)
    return None if config is None else (config, summaries_of(repeats))


class Training(NamedTuple):
    """A training that has ended."""

    score: float
    collapsed: bool
    """Whether it ended before its time; `score` is then above all others."""


def trainings_of(rows: Iterable[TrialResult]) -> dict[str, Training]:
    """The trainings that have ended, by the names that their config gives them.

    Those that failed are left out: they are tried again.
    """
    ended = {row.baseline: row for row in rows if row.state in (_WHOLE, _EARLY) and row.baseline}
    whole = [row.score for row in ended.values() if row.state == _WHOLE and row.score is not None]
    worst = COLLAPSED * max(whole, default=1.0)
    found = {}
    for name, row in ended.items():
        early = row.state == _EARLY or row.score is None
        found[name] = Training(worst if row.score is None or early else row.score, early)
    return found
