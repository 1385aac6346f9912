"""What a report says about parameters, against independent formulas and known truths."""

from __future__ import annotations

import math

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, create_trial
from scipy import stats

from study.config.dimensions import Choices, FloatRange, IntRange
from study.evidence.agreement import ENOUGH
from study.report.statistics import (
    choice_effects,
    edges,
    importances,
)

HUE = Choices(type="categorical", choices=(0, 0.1))


def trial(value: float, hue: float = 0, x: float = 0.5, y: float = 0.5) -> FrozenTrial:
    return create_trial(
        value=value,
        params={"hue": hue, "x": x, "y": y},
        distributions={
            "hue": CategoricalDistribution([0, 0.1]),
            "x": FloatDistribution(0, 1),
            "y": FloatDistribution(0, 1),
        },
    )


def test_the_effect_of_a_switch_is_welchs() -> None:
    off, on = [10.0, 12.0, 11.0, 13.0, 9.0, 14.0], [20.0, 25.0, 22.0, 19.0]
    found = choice_effects(
        [*(trial(it) for it in off), *(trial(it, 0.1) for it in on)], {"hue": HUE}
    )
    (effect,) = found
    a, b = np.log(on), np.log(off)
    parts = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1))
    half = stats.t.ppf(0.975, freedom) * math.sqrt(sum(parts))
    middle = a.mean() - b.mean()
    assert (effect.value, effect.trials, effect.others) == (0.1, 4, 6)
    assert effect.change == pytest.approx(math.expm1(middle))
    assert effect.low == pytest.approx(math.expm1(middle - half))
    assert effect.high == pytest.approx(math.expm1(middle + half))
    assert effect.verdict == "hurts"


def test_noise_is_undecided_and_few_trials_say_nothing() -> None:
    same = [trial(10 + number % 5, 0.1 * (number < 5)) for number in range(10)]
    (effect,) = choice_effects(same, {"hue": HUE})
    assert effect.verdict == "undecided"
    assert choice_effects(same[: ENOUGH - 1], {"hue": HUE}) == []
    one = [trial(10 + number, 0.1 * (number == 0)) for number in range(10)]
    assert choice_effects(one, {"hue": HUE}) == []
    assert choice_effects([], {"hue": HUE}) == []
    better = [
        trial((10 if number < 5 else 20) + number % 3, 0.1 * (number < 5)) for number in range(10)
    ]
    assert choice_effects(better, {"hue": HUE})[0].verdict == "helps"
    # A kernel distance below 0 has no factor.
    assert choice_effects([*better, trial(-0.001)], {"hue": HUE}) == []


def test_a_best_value_at_an_end_asks_for_more() -> None:
    space = {
        "nz": IntRange(type="int", low=16, high=128, log=True),
        "ngf": IntRange(type="int", low=16, high=64, step=16),
        "lr": FloatRange(type="float", low=1e-4, high=1e-2, log=True),
        "fixed": IntRange(type="int", low=3, high=3),
        "hue": HUE,
    }
    best = {"nz": 127, "ngf": 32, "lr": 1.1e-4, "fixed": 3, "hue": 0.1}
    high, low = edges(best, space)
    assert (high.name, high.proposal) == ("nz", (16, 384))
    assert low.name == "lr"
    assert low.proposal == pytest.approx((1e-4 / 3, 1e-2))
    assert edges({"nz": 45}, space) == []


def test_a_wider_range_keeps_the_steps_the_other_end_and_the_limits() -> None:
    space = {
        "ngf": IntRange(type="int", low=32, high=96, step=16),
        "degrees": IntRange(type="int", low=0, high=10),
        "beta1": FloatRange(type="float", low=0, high=0.9),
    }
    (ngf,) = edges({"ngf": 32}, space, lambda name, wider: wider.low >= 16)
    assert ngf.proposal == (16, 96)  # 64 lower is not allowed, nor 48 or 32
    assert edges({"degrees": 0}, space, lambda name, wider: wider.low >= 0) == []
    assert edges({"beta1": 0.9}, space, lambda name, wider: wider.high < 1) == []
    (degrees,) = edges({"degrees": 10}, space)
    assert degrees.proposal == (0, 20)


def test_the_parameter_that_makes_the_score_is_the_important_one() -> None:
    generator = np.random.default_rng(3)
    points = generator.random((40, 2))
    trials = [trial(10 + 5 * x + generator.normal() * 0.1, 0, x, y) for x, y in points]
    found = importances(trials)
    assert next(iter(found)) == "x"
    assert found["x"].share > 0.7
    assert found["x"].low > found["y"].high
    assert found["x"].low <= found["x"].share <= found["x"].high
    assert found["x"].low > found["x"].chance
    assert found["y"].share <= found["y"].chance
    assert importances(trials) == found  # the same again
    assert importances(trials[: ENOUGH - 1]) == {}
    assert importances([trial(3.0)] * 20) == {}  # nothing to explain
    noise = [trial(10 + generator.normal(), 0, x, y) for x, y in points]
    shares = importances(noise)
    assert all(shares[name].low <= shares[name].chance for name in ("x", "y"))


@pytest.mark.slow
def test_of_many_parameters_that_do_nothing_hardly_one_is_said_to_matter() -> None:
    """Each alone is above its own chance in 5 %, so that of eight one would be in a third."""
    names, wrong = [f"p{i}" for i in range(8)], 0
    for seed in range(8):
        generator = np.random.default_rng(seed)
        trials = [
            create_trial(
                value=float(np.exp(generator.normal(5, 0.3))),
                params={name: float(generator.random()) for name in names},
                distributions={name: FloatDistribution(0, 1) for name in names},
            )
            for _ in range(24)
        ]
        wrong += any(it.above_chance for it in importances(trials).values())
    assert wrong <= 2  # 0.4 are expected, 3 or more in 0.6 %


def test_a_range_that_was_widened_is_one_parameter() -> None:
    def of(value: float, nz: int, high: int) -> FrozenTrial:
        return create_trial(
            value=value, params={"nz": nz}, distributions={"nz": IntDistribution(1, high)}
        )

    trials = [of(10.0 + nz, nz, 8 if nz <= 8 else 32) for nz in range(1, 33)]
    assert set(importances(trials)) == {"nz"}
