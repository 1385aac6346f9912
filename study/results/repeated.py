"""Scores of trainings that were named beforehand: repeated configs, each on a seed of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import optuna
from optuna.study import Study
from optuna.trial import TrialState

from study.config.study_config import StudyConfig
from study.storage.attributes import stored_config, stored_identity
from study.storage.optuna_db import storage_of
from study.storage.trial_result import TrialResult
from study.storage.trial_summaries import summaries_of

COLLAPSED = 1.5
"""A training that diverged counts as a score this much above the worst of all."""
SAME_MEASURE = ("data.fingerprint", "extractor.fingerprint")
"""What two studies must have in common for their scores to compare."""

_WHOLE, _EARLY = TrialState.COMPLETE, TrialState.PRUNED


def read_repeats(
    study: Study, name: str, but: str | None = None
) -> tuple[StudyConfig, list[TrialResult]] | None:
    """Config and trials of the study of that name in a study's database.

    None if none has begun, or if it repeats an earlier study of the same name, which was deleted.
    `but` is as for `repeats_trials_of`.
    """
    storage = storage_of(study)
    if name not in optuna.get_all_study_names(storage):
        return None
    repeats = optuna.load_study(study_name=name, storage=storage)
    config = stored_config(repeats)
    if config is None or not repeats_trials_of(study, config, but):
        return None
    here, there = stored_identity(study), stored_identity(repeats)
    if any(here.get(key) != there.get(key) for key in SAME_MEASURE):
        return None
    return config, summaries_of(repeats)


def repeats_trials_of(study: Study, config: StudyConfig, but: str | None = None) -> bool:
    """Whether the trainings of a config repeat trials that a study has.

    `but` is the short name of a parameter that may differ.
    """

    def others(params: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in params.items() if name != but}

    repeated = [(it, it.repeats.trial) for it in config.baselines if it.repeats]
    rows = {row.number: row.params for row in summaries_of(study, {of for _, of in repeated})}
    return all(
        of in rows and others(rows[of]) == others(config.baseline_params(it)) for it, of in repeated
    )


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
