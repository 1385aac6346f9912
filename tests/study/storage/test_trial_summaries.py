"""Trials read in a few queries are the trials that Optuna reads."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import event

from dcgan.evaluation.record import EvalRecord
from study.config.study_config import ObjectiveConfig
from study.results.leaderboard import best_rows_of, rows_of
from study.search.objective import eval_attributes
from study.storage.optuna_db import backend_of, open_storage
from study.storage.store import Store
from study.storage.trial_record import TrialRecord
from study.storage.trial_result import TrialResult
from study.storage.trial_summaries import outcomes_of, summaries_of

Database = Callable[..., optuna.Study]

DISTRIBUTIONS = {
    "nz": IntDistribution(16, 160, log=True),
    "ngf": IntDistribution(32, 96, step=16),
    "lr_g": FloatDistribution(5e-5, 1e-3, log=True),
    "beta": FloatDistribution(0.0, 0.9, step=0.1),
    "blur_sigma": CategoricalDistribution([0, json.dumps([0.1, 1.2]), None, True, 2.5, "odd “%s”"]),
}
CHOICES = DISTRIBUTIONS["blur_sigma"].choices  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def storage(new_store: Callable[[], Store]) -> RDBStorage:
    """A database for the studies of this module."""
    return open_storage(new_store())


@pytest.fixture
def empty(storage: RDBStorage) -> Callable[..., optuna.Study]:
    """Make another study in it."""
    return lambda **options: optuna.create_study(storage=storage, **options)


def as_optuna_reads(study: optuna.Study) -> list[TrialResult]:
    """The same from Optuna's own objects."""
    return [TrialResult.from_trial(trial) for trial in study.get_trials()]


def check(study: optuna.Study) -> list[TrialResult]:
    """All ways to read a study agree, to the types of values and the order of parameters."""
    expected, read = as_optuna_reads(study), summaries_of(study)
    assert read == expected
    for mine, theirs in zip(read, expected, strict=True):
        assert list(mine.params) == list(theirs.params)
        assert [type(v) for v in mine.params.values()] == [type(v) for v in theirs.params.values()]
    outcomes = [(trial.number, trial.state, trial.values) for trial in expected]
    assert [(trial.number, trial.state, trial.values) for trial in outcomes_of(study)] == outcomes
    return read


numbers = st.floats(allow_nan=False) | st.sampled_from([math.inf, -math.inf, 0.0, 1e-300])
params = st.fixed_dictionaries(
    {},
    optional={
        "nz": st.integers(16, 160),
        "ngf": st.sampled_from(range(32, 97, 16)),
        "lr_g": st.floats(5e-5, 1e-3),
        "beta": st.sampled_from([0.0, 0.1, 0.9]),
        "blur_sigma": st.sampled_from(CHOICES),
    },
)
facts = st.dictionaries(
    st.sampled_from(["reason", "minutes", "fd_random", "imbalance", "epoch", "baseline", "x/ü"]),
    st.none() | st.booleans() | st.integers(-5, 2**40) | st.floats(-9, 9) | st.text(max_size=9),
)


@st.composite
def trials(draw: st.DrawFn, objectives: int = 1) -> FrozenTrial:
    """A trial in any state."""
    state = draw(st.sampled_from(list(TrialState)))
    values = st.lists(numbers, min_size=objectives, max_size=objectives)
    valued = {TrialState.COMPLETE: values, TrialState.PRUNED: values | st.none()}
    chosen = draw(params)
    return create_trial(
        state=state,
        values=draw(valued.get(state, st.none())),
        params=chosen,
        distributions={name: DISTRIBUTIONS[name] for name in chosen},
        user_attrs=draw(facts),
        system_attrs=draw(st.sampled_from([{}, {"other": 1}, {"fixed_params": chosen}])),
        intermediate_values=draw(st.dictionaries(st.integers(0, 20), st.floats(), max_size=3)),
    )


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(made=st.lists(trials(), max_size=5))
def test_every_trial_is_read_as_optuna_reads_it(empty: Database, made: list[FrozenTrial]) -> None:
    study = empty()
    study.add_trials(made)
    assert len(check(study)) == len(made)
    in_memory = optuna.create_study()
    in_memory.add_trials(made)
    assert summaries_of(in_memory) == summaries_of(study)
    assert rows_of(in_memory) == rows_of(study)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(made=st.lists(trials(objectives=2), max_size=4))
def test_trials_with_two_values(empty: Database, made: list[FrozenTrial]) -> None:
    study = empty(directions=["minimize", "maximize"])
    study.add_trials(made)
    for trial in check(study):
        assert trial.values is None or len(trial.values) == 2


def test_the_trials_of_a_run_study(finished: Any) -> None:
    assert {trial.state.name for trial in check(finished.summary.study)} == {"COMPLETE", "PRUNED"}


def test_trials_as_a_launch_leaves_them(empty: Database) -> None:
    """Asked for, told of, put back, enqueued: not added from outside."""
    study = empty()
    study.enqueue_trial({"nz": 8, "blur_sigma": "[0.1, 1.2]"}, user_attrs={"baseline": "good"})
    study.enqueue_trial({"nz": 9}, user_attrs={"baseline": "slow"})
    running = study.ask()
    running.suggest_int("nz", 4, 16)
    for scores in ({5: 3.0, 10: 2.5}, {}):
        pruned = study.ask()
        for epoch, score in scores.items():
            pruned.report(score, epoch)
        study.tell(pruned, state=TrialState.PRUNED)
    study.tell(study.ask(), state=TrialState.FAIL)
    study.tell(study.ask(), math.inf)
    study.ask()
    study.enqueue_trial({"nz": 10})
    read = check(study)
    assert [trial.state.name for trial in read] == [
        *("RUNNING", "PRUNED", "PRUNED", "FAIL", "COMPLETE", "RUNNING", "WAITING")
    ]
    assert [trial.values for trial in read[1:5]] == [[2.5], None, None, [math.inf]]
    assert read[0].params == {"nz": 8}
    assert read[6].fixed_params == {"nz": 10}
    rows = {row.number: row for row in rows_of(study)}
    assert rows[6].shown_params == {"nz": 10}
    assert (rows[0].origin, rows[6].origin) == ("good", "sampler")


def test_a_result_is_stored_under_the_names_of_every_release(empty: Database) -> None:
    study = empty(directions=["minimize", "minimize"])
    result = TrialResult(
        number=0,
        state=TrialState.COMPLETE,
        values=[8.0, 2.5],
        score=10.0,
        metric="fd_random",
        distances={"fd_random": 8.0, "kd_random": 0.5},
        metrics={"precision": 0.75},
        imbalance=2.5,
        epoch=4,
        step=12,
        minutes=1.5,
        reason=None,
        run_id="abc",
        seed=7,
        code_version="0.1",
    )
    evaluated = EvalRecord(
        epoch=4,
        step=12,
        frechet_metric="fd_random",
        kernel_metric="kd_random",
        metrics={"fd_random": 8.0, "kd_random": 0.5, "precision": 0.75},
        imbalance=2.5,
    )
    identity = {"environment.code_version": "0.1"}
    objective = ObjectiveConfig(mode="pareto", weight=0.25, cap=0.25)
    record = TrialRecord(0, {}, "sampler", None, 7, minutes=1.5, run_id="abc", identity=identity)
    stored = record.attributes() | eval_attributes(evaluated, objective)
    stored["metrics"] = {"precision": 0.75}
    assert stored == {
        **{"reason": None, "minutes": 1.5, "run_id": "abc", "epoch": 4, "imbalance": 2.5},
        "step": 12,
        **{"seed": 7, "code_version": "0.1", "fd_random": 8.0, "kd_random": 0.5},
        **{"metrics": {"precision": 0.75}, "score": 10.0, "metric": "fd_random"},
    }
    study.add_trial(create_trial(values=result.values, user_attrs=stored))
    study.add_trial(create_trial(values=[1.0, 1.0]))  # a release that stored nothing
    read = check(study)
    assert read == [result, TrialResult(1, TrialState.COMPLETE, [1.0, 1.0])]
    assert list(rows_of(study)[0].as_dict()) == [
        *("number", "state", "score", "front", "metric", "distances", "imbalance", "epoch"),
        *("params", "minutes", "origin", "reason", "run_id", "metrics", "rung"),
    ]


def test_studies_of_one_database_do_not_mix(empty: Database) -> None:
    one, other = empty(), empty()
    for study, value in ((one, 1.0), (other, 2.0), (one, 3.0)):
        study.add_trial(create_trial(value=value, user_attrs={"epoch": int(value)}))
    assert [trial.values for trial in check(one)] == [[1.0], [3.0]]
    assert [trial.values for trial in check(other)] == [[2.0]]


def test_some_trials_only(empty: Database) -> None:
    study = empty()
    study.add_trials(create_trial(value=float(i), user_attrs={"epoch": i}) for i in range(6))
    for chosen in ({1, 4}, {5, 99}, set[int]()):
        expected = [trial for trial in as_optuna_reads(study) if trial.number in chosen]
        assert summaries_of(study, chosen) == expected


def test_the_best_rows_are_the_leaderboards_first(empty: Database) -> None:
    study = empty()
    for value in (5.0, 1.0, 3.0, 2.0, 4.0):
        study.add_trial(create_trial(value=value, user_attrs={"baseline": f"b{value}"}))
    for state in (TrialState.FAIL, TrialState.WAITING, TrialState.PRUNED, TrialState.PRUNED):
        study.add_trial(create_trial(state=state))
    whole = rows_of(study)
    for limit in (1, 3, 6, 20):
        rows, others = best_rows_of(study, limit)
        assert rows == whole[:limit]
        assert list(others.elements()) == [row.state for row in whole[limit:]]
    assert [row.score for row in whole[:5]] == [1.0, 2.0, 3.0, 4.0, 5.0]


@contextmanager
def statements(study: optuna.Study) -> Iterator[list[str]]:
    """The SQL that its database is asked meanwhile."""
    backend = backend_of(study)
    assert backend is not None
    engine = backend.engine
    asked: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("read", [summaries_of, outcomes_of, rows_of, best_rows_of])
def test_the_number_of_queries_does_not_depend_on_the_number_of_trials(
    empty: Database, read: Callable[[optuna.Study], list[TrialResult]]
) -> None:
    study, counts = empty(), []
    for more in (1, 40):
        study.add_trials(create_trial(value=1.0, user_attrs={"epoch": 1}) for _ in range(more))
        with statements(study) as asked:
            read(study)
        counts.append(len(asked))
    assert counts[0] == counts[1]
    assert 1 <= counts[0] <= 7
