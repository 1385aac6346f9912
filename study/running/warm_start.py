"""Seeds a study with the best configs of earlier ones: they become baselines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from optuna.trial import TrialState

from dcgan.config.settings import get_dotted, override
from dcgan.errors import UsageError
from study.config.baselines import BASELINE_NAME_LENGTH, Baseline
from study.config.dimensions import Choices, plain_value
from study.config.study_config import StudyConfig
from study.errors import StudyError
from study.results.leaderboard import rows_of
from study.storage.attributes import study_config
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store, trial_name
from study.storage.trial_result import TrialResult

BEST = 3
"""Trials that are taken of each study."""


class WarmStart(NamedTuple):
    """A study's config with earlier studies' best configs among its baselines."""

    config: StudyConfig
    notes: list[str]
    """Sentences on what was taken and what was left out."""


def warm_start(config: StudyConfig, store: Store, names: Sequence[str]) -> WarmStart:
    """Add the best complete trials of earlier studies of a store to a study's baselines.

    A trial whose values the new search space does not hold is left out. Raises
    `UnknownStudyError` if there is no such study, `StudyError` if none of its trials is complete,
    and `UsageError` if it is the study itself.
    """
    notes = list[str]()
    for name in names:
        if name == config.study.name:
            raise UsageError(f"--from {name}: a study cannot be seeded with itself")
        added, told = _best_of(config, store, name)
        notes += told
        baselines = [it.model_dump() for it in (*config.baselines, *added)]
        config = override(config, {"baselines": baselines}, f"--from {name}")
    return WarmStart(config, notes)


def first_of_each(rows: Iterable[TrialResult]) -> list[TrialResult]:
    """The trials but those with the parameters of an earlier one, as of repeated baselines."""
    found: list[TrialResult] = []
    for row in rows:
        if row.params not in [it.params for it in found]:
            found.append(row)
    return found


def _best_of(config: StudyConfig, store: Store, name: str) -> tuple[list[Baseline], list[str]]:
    study = load_optuna_study(store, name)
    earlier, rows = study_config(study), rows_of(study)
    best = first_of_each(row for row in rows if row.state == TrialState.COMPLETE)[:BEST]
    if not best:
        raise StudyError(f"--from {name}: none of its trials is complete, so it has no best config")
    taken, notes = list[Baseline](), list[str]()
    known = {baseline.name: config.baseline_params(baseline) for baseline in config.baselines}
    for row in best:
        baseline = Baseline(
            name=f"{trial_name(row.number)} of {name}"[:BASELINE_NAME_LENGTH],
            params=params_here(config, earlier, row),
        )
        try:
            params = config.baseline_params(baseline)
        except ValueError as error:
            notes.append(f"--from {name}: left out: {error}")
            continue
        if params in known.values():
            same = next(other for other in known if known[other] == params)
            notes.append(f"--from {name}: {baseline.name} is the same config as “{same}”")
            continue
        known[baseline.name] = params
        taken.append(baseline)
    if taken:
        named, s = ", ".join(it.name for it in taken), "s" * (len(taken) == 1)
        notes.append(f"--from {name}: begin{s} as baseline: {named}{_differences(config, earlier)}")
    return taken, notes


def params_here(config: StudyConfig, earlier: StudyConfig, row: TrialResult) -> dict[str, Any]:
    """An earlier trial's values of the keys that are searched now."""
    values: dict[str, Any] = {}
    for key in config.space:
        dimension = earlier.space.get(key)
        short = earlier.short_name(key)
        if dimension is None or short not in row.params:
            value = get_dotted(earlier.base, key)
        elif isinstance(dimension, Choices):
            value = dimension.stored[row.params[short]]
        else:
            value = row.params[short]
        values[key] = plain_value(value)
    return values


def _differences(config: StudyConfig, earlier: StudyConfig) -> str:
    """What of the earlier study's configs is not taken over, as the end of a sentence."""
    gone = sorted(set(earlier.space) - set(config.space))
    said = (
        f"; {', '.join(gone)} {'is' if len(gone) == 1 else 'are'} not searched here" if gone else ""
    )
    if earlier.base.data != config.base.data:
        said += "; its photos were others, or read in another way"
    return said
