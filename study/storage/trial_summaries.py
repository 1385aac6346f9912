"""The results of a study's trials, read in a few SQL queries.

Optuna's own reader makes an object of every row of six tables, which takes seconds for a thousand
trials. This module reads only plain columns that are shown.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection
from functools import cache
from typing import Any

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.study import Study
from optuna.trial import TrialState
from sqlalchemy import ColumnElement, Connection, Select, and_, select

from study.storage.optuna_db import backend_of, id_of, models
from study.storage.trial_result import FIXED, TrialResult

Outcome = tuple[int, TrialState, list[float] | None]


def summaries_of(study: Study, numbers: Collection[int] | None = None) -> list[TrialResult]:
    """Read the trials of a study, ordered by number, as its database has them now.

    `numbers` asks for only these (a few hundred at most).
    """
    return _read(study, numbers)


def outcomes_of(study: Study) -> list[TrialResult]:
    """Read numbers, states and values only, which is faster than `summaries_of`."""
    return _read(study, only_outcomes=True)


def _read(
    study: Study, numbers: Collection[int] | None = None, *, only_outcomes: bool = False
) -> list[TrialResult]:
    storage, trials = backend_of(study), models.TrialModel.__table__
    if storage is None:
        found = study.get_trials(deepcopy=False)
        return [TrialResult.from_trial(t) for t in found if numbers is None or t.number in numbers]
    chosen = trials.c.study_id == id_of(study)
    if numbers is not None:
        chosen = and_(chosen, trials.c.number.in_(numbers))

    def read() -> list[TrialResult]:
        with storage.engine.connect() as connection:
            return _results(connection, chosen, only_outcomes)

    return storage.patiently(read)


def _outcomes(connection: Connection, chosen: ColumnElement[bool]) -> dict[int, Outcome]:
    """Optuna's id → number, state and values, ordered by number."""
    model, trials = models.TrialValueModel, models.TrialModel.__table__
    query = select(trials.c.trial_id, trials.c.number, trials.c.state)
    query = query.where(chosen).order_by(trials.c.number)
    states = connection.execute(query).all()  # first: a COMPLETE trial then has its values
    values = defaultdict[int, dict[int, float]](dict)
    query = _parts(model, chosen, "objective", "value", "value_type")
    for trial, objective, value, kind in connection.execute(query):
        values[trial][objective] = model.stored_repr_to_value(value, kind)
    return {
        trial: (number, state, [values[trial][key] for key in sorted(values[trial])] or None)
        for trial, number, state in states
    }


def _results(
    connection: Connection, chosen: ColumnElement[bool], only_outcomes: bool
) -> list[TrialResult]:
    outcomes = _outcomes(connection, chosen)
    params, fixed, attributes = (defaultdict[int, dict[str, Any]](dict) for _ in range(3))
    if not only_outcomes:
        columns = ("param_name", "param_value", "distribution_json")
        query = _parts(models.TrialParamModel, chosen, *columns)
        for trial, name, value, distribution in connection.execute(query):
            params[trial][name] = _distribution(distribution).to_external_repr(value)
        query = _parts(models.TrialUserAttributeModel, chosen, "key", "value_json")
        for trial, key, value in connection.execute(query):
            attributes[trial][key] = json.loads(value)
        model = models.TrialSystemAttributeModel
        query = _parts(model, and_(chosen, model.key == FIXED), "value_json")
        for trial, value in connection.execute(query):
            fixed[trial] = json.loads(value)
    return [
        TrialResult.read(*outcome, params[trial], fixed[trial], attributes[trial])
        for trial, outcome in outcomes.items()
    ]


def _parts(model: Any, chosen: ColumnElement[bool], *columns: str) -> Select[Any]:
    """Rows of a table of trials' parts, each with its trial's id, in the order of their keys."""
    table, trials = model.__table__, models.TrialModel.__table__
    query = select(table.c.trial_id, *(table.c[name] for name in columns))
    query = query.join(trials, trials.c.trial_id == table.c.trial_id)
    return query.where(chosen).order_by(*table.primary_key)


@cache
def _distribution(text: str) -> BaseDistribution:
    """A parameter's distribution; trials of a study share theirs."""
    return json_to_distribution(text)
