"""What tables and counts show of a study's trials, read in a handful of SQL queries.

Optuna's own reader makes an object of every row of six tables, which takes seconds for a thousand
trials. This module reads plain columns, and only those that are shown.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import ColumnElement, Connection, Select, and_, select

from study.storage.optuna_db import backend_of, id_of, models

if TYPE_CHECKING:
    from optuna.study import Study

FIXED = "fixed_params"
"""The system attribute in which Optuna keeps the parameters of an enqueued trial."""


@dataclass(frozen=True)
class TrialSummary:
    """A trial without its intermediate scores and times."""

    number: int
    state: TrialState
    values: list[float] | None
    """One for each objective; a pruned trial's is the last it reported."""
    params: dict[str, Any] = field(default_factory=dict)
    user_attrs: dict[str, Any] = field(default_factory=dict)
    fixed_params: dict[str, Any] = field(default_factory=dict)
    """What it shall be tried with, if it was enqueued."""


def summaries_of(study: Study, numbers: Collection[int] | None = None) -> list[TrialSummary]:
    """Trials of a study by number, as they are in its database now.

    Args:
        numbers: which ones (a few hundred at most); none: all.
    """
    storage = backend_of(study)
    if storage is None:
        trials = study.get_trials(deepcopy=False)
        return [_from_trial(t) for t in trials if numbers is None or t.number in numbers]

    def read() -> list[TrialSummary]:
        with storage.engine.connect() as connection:
            return _read(connection, _chosen(id_of(study), numbers))

    return storage.patiently(read)


def outcomes_of(study: Study) -> list[TrialSummary]:
    """As `summaries_of`, but states and values only."""
    storage = backend_of(study)
    if storage is None:
        return summaries_of(study)

    def read() -> list[TrialSummary]:
        with storage.engine.connect() as connection:
            return list(_outcomes(connection, _chosen(id_of(study), None)).values())

    return storage.patiently(read)


def _from_trial(trial: FrozenTrial) -> TrialSummary:
    fixed = trial.system_attrs.get(FIXED, {})
    return TrialSummary(
        trial.number, trial.state, trial.values, trial.params, trial.user_attrs, fixed
    )


def _chosen(study_id: int, numbers: Collection[int] | None) -> ColumnElement[bool]:
    """Which rows of the table of trials are wanted."""
    trials = models.TrialModel.__table__
    of_study = trials.c.study_id == study_id
    return of_study if numbers is None else and_(of_study, trials.c.number.in_(numbers))


def _outcomes(connection: Connection, chosen: ColumnElement[bool]) -> dict[int, TrialSummary]:
    """Trials by Optuna's id, in the order of their numbers."""
    model, trials = models.TrialValueModel, models.TrialModel.__table__
    query = select(trials.c.trial_id, trials.c.number, trials.c.state)
    query = query.where(chosen).order_by(trials.c.number)
    states = connection.execute(query).all()  # first: what is COMPLETE by now has its values
    values = defaultdict[int, dict[int, float]](dict)
    query = _parts(model, chosen, "objective", "value", "value_type")
    for trial, objective, value, kind in connection.execute(query):
        values[trial][objective] = model.stored_repr_to_value(value, kind)
    return {
        trial: TrialSummary(
            number, state, [values[trial][key] for key in sorted(values[trial])] or None
        )
        for trial, number, state in states
    }


def _read(connection: Connection, chosen: ColumnElement[bool]) -> list[TrialSummary]:
    found = _outcomes(connection, chosen)
    columns = ("param_name", "param_value", "distribution_json")
    query = _parts(models.TrialParamModel, chosen, *columns)
    for trial, name, value, distribution in connection.execute(query):
        if trial in found:  # not one made since the first query
            found[trial].params[name] = _distribution(distribution).to_external_repr(value)
    query = _parts(models.TrialUserAttributeModel, chosen, "key", "value_json")
    for trial, key, value in connection.execute(query):
        if trial in found:
            found[trial].user_attrs[key] = json.loads(value)
    model = models.TrialSystemAttributeModel
    query = _parts(model, and_(chosen, model.key == FIXED), "value_json")
    for trial, value in connection.execute(query):
        if trial in found:
            found[trial].fixed_params.update(json.loads(value))
    return list(found.values())


def _parts(model: Any, chosen: ColumnElement[bool], *columns: str) -> Select[Any]:
    """Rows of a table of trials' parts, each with its trial's id, as they were first written."""
    table, trials = model.__table__, models.TrialModel.__table__
    query = select(table.c.trial_id, *(table.c[name] for name in columns))
    query = query.join(trials, trials.c.trial_id == table.c.trial_id)
    return query.where(chosen).order_by(*table.primary_key)


@cache
def _distribution(text: str) -> BaseDistribution:
    """A parameter's distribution; trials of a study share theirs."""
    return json_to_distribution(text)
