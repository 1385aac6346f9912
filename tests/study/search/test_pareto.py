"""The Pareto front, the values it is made of, and picking one of its trials; nothing is trained."""

from __future__ import annotations

import math

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import IntDistribution
from optuna.study import Study
from optuna.trial import TrialState, create_trial

from dcgan.errors import UsageError
from dcgan.evaluation.record import EvalRecord
from study.config.study_config import ObjectiveConfig
from study.results.contact_sheet import captions
from study.results.leaderboard import rows_of
from study.results.selection import MOST_LISTED, pick_trial
from study.results.wording import in_words
from study.search.objective import (
    NO_BALANCE,
    closing_metrics,
    directions,
    eval_attributes,
    penalised_score,
    score_of,
    values_of,
)
from study.search.pareto import front_of, on_front
from study.storage.trial_record import TrialRecord
from study.storage.trial_summaries import outcomes_of, summaries_of

Point = tuple[float, ...]
BOTH = ["minimize", "minimize"]

# The front


def beats(one: Point, other: Point) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def by_comparing_all(points: list[Point]) -> list[bool]:
    return [not any(beats(other, point) for other in points) for point in points]


few = st.integers(-2, 3).map(float)  # so that ties and equal points are common
finite = st.floats(allow_nan=False, allow_infinity=False)


def clouds_of(count: int) -> st.SearchStrategy[list[Point]]:
    """Points of `count` values: with many ties, or with hardly any."""
    return st.lists(st.tuples(*[few] * count), max_size=25) | st.lists(st.tuples(*[finite] * count))


clouds = clouds_of(2) | clouds_of(3)


@given(clouds)
def test_the_front_is_what_nothing_beats(points: list[Point]) -> None:
    assert on_front(points) == by_comparing_all(points)


@given(clouds.filter(bool))
def test_the_front_is_optunas(points: list[Point]) -> None:
    """With a third value that is maximised, where there is one."""
    made = optuna.create_study(directions=[*BOTH, "maximize"][: len(points[0])])
    made.add_trials([create_trial(values=list(point)) for point in points])
    front = {trial.number for trial in made.best_trials}
    low = [(*point[:2], *(-share for share in point[2:])) for point in points]
    assert {number for number, mark in enumerate(on_front(low)) if mark} == front
    listed = front_of(outcomes_of(made))
    assert {trial.number for trial in listed} == front
    assert [(trial.values[0], trial.number) for trial in listed] == sorted(
        (trial.values[0], trial.number) for trial in listed
    )


@pytest.mark.parametrize(
    ("points", "marks"),
    [
        ([], []),
        ([(1.0, 1.0)], [True]),
        ([(1.0, 2.0), (2.0, 1.0)], [True, True]),
        ([(1.0, 1.0), (1.0, 2.0), (2.0, 1.0)], [True, False, False]),  # a tie in one value loses
        ([(1.0, 2.0), (1.0, 2.0), (3.0, 3.0)], [True, True, False]),  # equal ones stay together
        ([(-0.0, 1.0), (0.0, 1.0)], [True, True]),
        ([(-3.0, 100.0), (5.0, 0.0)], [True, True]),  # kernel distances may be below 0
        ([(1.0, 1.0, 3.0), (2.0, 2.0, 2.0), (2.0, 2.0, 3.0)], [True, True, False]),
        ([(1.0, 2.0, 1.0), (1.0, 1.0, 2.0), (1.0, 2.0, 2.0)], [True, True, False]),
        ([(1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (1.0, 1.0, 1.5)], [True, True, False]),
    ],
)
def test_fronts_by_hand(points: list[Point], marks: list[bool]) -> None:
    assert on_front(points) == marks


# What is minimised


def record(imbalance: float | None = 2.5) -> EvalRecord:
    distances = {"fd_random": 8.0, "kd_random": 0.5}
    names = {"frechet_metric": "fd_random", "kernel_metric": "kd_random"}
    return EvalRecord(**names, metrics=distances, imbalance=imbalance)


PARETO = ObjectiveConfig(mode="pareto")


def test_the_values_are_distance_and_imbalance() -> None:
    assert values_of(record(), PARETO) == (8.0, 2.5)
    assert values_of(record(), ObjectiveConfig(mode="pareto", metric="kernel")) == (0.5, 2.5)
    assert values_of(record(), ObjectiveConfig()) == (8.4,)
    assert score_of(record(), PARETO) == 8.4
    one = {"fd_random": 8.0, "kd_random": 0.5, "imbalance": 2.5, "epoch": 0, "step": 0}
    assert eval_attributes(record(), ObjectiveConfig()) == one
    both = one | {"score": 8.4, "metric": "fd_random"}
    assert eval_attributes(record(), PARETO) == both


def test_the_recognised_share_is_a_third_value_that_is_maximised() -> None:
    settings = ObjectiveConfig(mode="pareto", recognised=True)
    seen = record()
    assert values_of(seen, settings) == (8.0, 2.5, 0.0)  # an evaluation without the share
    seen.metrics["recognised"] = 0.3
    assert values_of(seen, settings) == (8.0, 2.5, 0.3)
    assert values_of(seen, PARETO) == (8.0, 2.5)
    assert [item.name for item in directions(settings)] == ["MINIMIZE", "MINIMIZE", "MAXIMIZE"]
    assert [item.name for item in directions(PARETO)] == ["MINIMIZE", "MINIMIZE"]
    ended = TrialRecord(0, {}, "sampler", None, 1, state="COMPLETE", score=10.0)
    ended.values = [8.0, 2.5, 0.3]
    assert closing_metrics(ended) == {
        "objective": 10.0,
        "objective_distance": 8.0,
        "objective_imbalance": 2.5,
        "objective_recognised": 0.3,
    }


def test_no_training_is_no_balance() -> None:
    """It must not win the front's other end, nor escape the score's penalty."""
    untrained = record(imbalance=None)
    assert values_of(untrained, PARETO) == (8.0, NO_BALANCE)
    assert score_of(untrained, PARETO) == 8.0 * (1.0 + PARETO.cap)
    real = record(imbalance=math.log(1e30))
    assert not any(on_front([values_of(untrained, PARETO), values_of(real, PARETO)])[:1])


# Picking one of the front


def made_study(*points: Point) -> Study:
    """A study with complete trials of given values, and one that ended without."""
    count = len(points[0])
    made = optuna.create_study(study_name="made", directions=[*BOTH, "maximize"][:count])
    for point in points:
        distance, imbalance = point[:2]
        score = penalised_score(distance, imbalance, tolerance=1.5, weight=0.25, cap=0.25)
        facts = {"score": score, "metric": "fd_random", "fd_random": distance}
        made.add_trial(
            create_trial(
                values=list(point),
                params={"nz": 8},
                distributions={"nz": IntDistribution(4, 16)},
                user_attrs={**facts, "imbalance": imbalance},
            )
        )
    made.add_trial(create_trial(state=TrialState.FAIL))
    return made


@pytest.mark.parametrize(
    ("rule", "number"),
    [
        ("distance", 1),  # 0 is as near and further from balance
        ("balance", 5),  # 4 is as balanced and further from the photos
        ("score", 3),  # 10.5, where trial 1 has 12.5 and trial 2 has 10.625
    ],
)
def test_rules(rule: str, number: int) -> None:
    points = [(10.0, 6.0), (10.0, 5.0), (10.0, 5.0), (10.5, 1.0), (20.0, 0.2), (19.0, 0.2)]
    assert pick_trial(made_study(*points), None, rule).number == number


def test_equal_trials_are_told_apart_by_distance_then_number() -> None:
    made = made_study((3.0, 1.0), (2.0, 2.0), (2.0, 2.0), (3.0, 1.0))
    assert [pick_trial(made, None, rule).number for rule in ("distance", "balance")] == [1, 0]
    made = made_study((10.0, 0.1), (8.0, 2.5), (8.0, 2.5))  # 8 × 1.25 = 10
    assert [trial.user_attrs.get("score") for trial in made.get_trials()[:3]] == [10.0] * 3
    assert pick_trial(made, None, "score").number == 1


def test_a_nearer_trial_that_is_dominated_comes_after_the_front() -> None:
    made = made_study((4.0, 0.5), (2.0, 3.0), (3.0, 3.5), (5.0, 0.6), (2.0, 3.0))
    rows = rows_of(made)
    assert [(row.number, row.front) for row in rows] == [
        *((1, True), (4, True), (0, True)),
        *((2, False), (3, False), (5, False)),  # by distance; the last one failed
    ]


def test_a_long_front_is_cut_short_in_the_error() -> None:
    size = MOST_LISTED + 5
    made = made_study(*[(float(index), float(size - index)) for index in range(size)])
    with pytest.raises(UsageError) as caught:
        pick_trial(made, None)
    assert str(caught.value).count("trial-") == MOST_LISTED
    assert "5 more in 'study show made'" in str(caught.value)


SHARES = ((10.0, 0.5, 0.1), (9.0, 3.0, 0.4), (12.0, 4.0, 0.4), (30.0, 9.0, 0.6), (31.0, 9.0, 0.6))
"""Trial 1 beats trial 2, and trial 3 beats trial 4, with the same share."""


@pytest.mark.parametrize(
    ("rule", "number"), [("distance", 1), ("balance", 0), ("recognised", 3), ("score", 0)]
)
def test_rules_with_a_third_value(rule: str, number: int) -> None:
    assert pick_trial(made_study(*SHARES), None, rule).number == number


def test_a_share_alone_puts_a_trial_on_the_front() -> None:
    rows = rows_of(made_study(*SHARES))
    assert [(row.number, row.front) for row in rows] == [
        *((1, True), (0, True), (3, True)),
        *((2, False), (4, False), (5, False)),  # by distance; the last one failed
    ]


def test_the_third_value_is_named_beside_the_others() -> None:
    shared, both = made_study(*SHARES), made_study((10.0, 0.5))
    words = [in_words(summaries_of(made)[0]) for made in (shared, both)]
    assert words[1] == "fd_random 10.00, imbalance 0.50"
    assert words[0] == f"{words[1]}, 10.0% recognised"
    lines = [captions(rows_of(made)[-2]) for made in (shared, both)]
    assert lines[0] == [
        "trial-004  31.00, imbalance 9.00",
        "complete, sampler",
        "60.0% recognised",
    ]
    assert lines[1] == ["trial-000  10.00, imbalance 0.50", "front, complete, sampler"]


def test_the_third_rule_is_offered_only_where_it_fits() -> None:
    shared, both = made_study(*SHARES), made_study((10.0, 0.5))
    rules = "--pick distance|balance|score"
    for made, end in ((shared, f"{rules}|recognised"), (both, rules)):
        with pytest.raises(UsageError) as caught:
            pick_trial(made, None)
        assert str(caught.value).endswith(end)
    with pytest.raises(UsageError, match="must be distance, balance, score or recognised, but"):
        pick_trial(shared, None, "fid")
    with pytest.raises(UsageError) as caught:
        pick_trial(both, None, "recognised")
    assert str(caught.value) == (
        "the study 'made' does not maximise the recognised share (objective.recognised), so "
        "--pick must be distance, balance or score"
    )
