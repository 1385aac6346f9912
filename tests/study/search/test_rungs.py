"""Which paused trial goes on next, against a plain reading of successive halving."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from dcgan.errors import ConfigError
from study.config.rung_ends import with_rungs
from study.config.study_config import BudgetConfig, StudyConfig, load_study_config
from study.search.rungs import (
    Rungs,
    Standing,
    epochs_in_all,
    going_on,
    out_of_the_race,
    trials_by_rung,
)

RUNGS = Rungs((1, 3, 9), 1 / 3, total=9)


def paused(number: int, *scores: float) -> Standing:
    """A trial that waits at the end of its last rung."""
    return Standing(number, len(scores), over=True, scores=dict(enumerate(scores, 1)))


def ended(number: int, *scores: float) -> Standing:
    """A trial that will not go on: complete, collapsed or failed."""
    return Standing(number, None, over=True, scores=dict(enumerate(scores, 1)))


def running(number: int, *scores: float) -> Standing:
    return Standing(number, None, over=False, scores=dict(enumerate(scores, 1)))


def test_the_best_third_goes_on_as_soon_as_there_is_one() -> None:
    trials = [paused(0, 5.0), paused(1, 4.0)]
    assert going_on(trials, RUNGS, new=True) == []
    assert going_on([*trials, paused(2, 6.0)], RUNGS, new=True) == [1]


def test_the_highest_rung_comes_first() -> None:
    trials = [paused(0, 1.0, 3.0), paused(1, 2.0, 2.0), paused(2, 3.0, 1.0)]
    trials += [paused(number, float(number)) for number in range(3, 15)]
    assert going_on(trials, RUNGS, new=True) == [2, 3, 4]


def test_a_trial_that_ended_early_counts_as_a_worse_one() -> None:
    trials = [paused(0, 5.0), ended(1), ended(2)]
    assert going_on(trials, RUNGS, new=True) == [0]
    assert going_on([paused(0, 5.0), ended(1), running(2)], RUNGS, new=True) == []


def test_a_trial_that_ended_on_the_second_rung_counts_there() -> None:
    trials = [paused(0, 1.0, 1.0), ended(1, 2.0), ended(2, 3.0), paused(3, 4.0)]
    assert going_on(trials, RUNGS, new=True) == [0]


def test_at_the_end_at_least_one_goes_on() -> None:
    trials = [paused(0, 5.0), paused(1, 4.0)]
    assert going_on(trials, RUNGS, new=False) == [1]
    assert going_on([*trials, running(2)], RUNGS, new=False) == []  # it may still be better


def test_a_study_ends_with_a_complete_trial_if_it_can() -> None:
    """The one that went on has collapsed; the next best takes its place."""
    trials = [ended(0, 1.0), paused(1, 5.0), paused(2, 4.0)]
    assert going_on(trials, RUNGS, new=True) == []
    assert going_on(trials, RUNGS, new=False) == [2]
    assert going_on([*trials, running(3)], RUNGS, new=False) == []
    complete = ended(3, 2.0, 2.0, 2.0)
    assert going_on([*trials, complete], RUNGS, new=False) == []


def test_baselines_take_no_place_of_proposed_trials() -> None:
    """Five that lead everywhere, as after `--from`: a third of the proposed ones goes on."""
    known = [
        Standing(number, None, over=True, scores={1: 0.1, 2: 0.1, 3: 0.1}, known=True)
        for number in range(5)
    ]
    waiting = [paused(number, float(number)) for number in range(5, 14)]
    assert going_on([*known, *waiting], RUNGS, new=True) == [5, 6, 7]
    on_two = [paused(number, float(number), float(number)) for number in range(5, 8)]
    trials = [*known, *on_two, *waiting[3:]]
    assert going_on(trials, RUNGS, new=True) == [5]
    # Nor are they the complete trial with which a study ends.
    ended_early = [ended(5, 1.0), paused(6, 5.0), paused(7, 4.0)]
    assert going_on([*known, *ended_early], RUNGS, new=False) == [7]
    assert out_of_the_race([*known, *ended_early], RUNGS) == set()


def test_ties_go_to_the_earlier_trial() -> None:
    assert going_on([paused(2, 1.0), paused(0, 1.0), paused(1, 1.0)], RUNGS, new=True) == [0]


def test_what_can_go_on_is_never_out_of_the_race() -> None:
    """Random studies to their ends, in any order of scores."""
    for seed in range(60):
        rng = random.Random(seed)
        rungs = Rungs((1, 2, 4), rng.choice([1 / 4, 1 / 3, 1 / 2]), total=rng.randint(1, 25))
        trials: dict[int, Standing] = {}
        out = set[int]()
        while True:
            new = len(trials) < rungs.total
            now = list(trials.values())
            chosen = going_on(now, rungs, new=new)
            assert not out & set(chosen)
            out = out_of_the_race(now, rungs)
            if not chosen and not new:
                break
            number = chosen[0] if chosen else len(trials)
            before = trials.get(number)
            scores = dict(before.scores) if before else {}
            scores[len(scores) + 1] = rng.choice([rng.random(), 0.5])
            at_end = len(scores) == len(rungs.epochs) or rng.random() < 0.1
            stop = None if at_end else len(scores)
            trials[number] = Standing(number, stop, over=True, scores=scores)
        assert len(trials) == rungs.total
        left = [it for it in trials.values() if it.paused is not None]
        assert not left or any(3 in it.scores for it in trials.values())
        reached = [sum(rung in it.scores for it in trials.values()) for rung in (1, 2, 3)]
        assert reached[0] == rungs.total
        for low, high in pairwise(reached):
            assert high <= low


def test_how_many_trials_train_on_each_rung() -> None:
    rungs = Rungs((10, 30, 90), 1 / 3, total=40)
    first, second, third = trials_by_rung(rungs, baselines=0)
    assert first == 40
    assert 13 <= second <= 18  # a third, and those that were the best for a while
    assert 4 <= third <= 8
    assert epochs_in_all(rungs, baselines=0) == pytest.approx(40 * 10 + second * 20 + third * 60)
    # Baselines take no place of others.
    with_two = trials_by_rung(replace(rungs, total=42), baselines=2)
    assert with_two == pytest.approx((first + 2, second + 2, third + 2))
    assert trials_by_rung(Rungs((10, 30), 1 / 3, total=1), baselines=3) == (1, 1)
    large = trials_by_rung(replace(rungs, total=4000), baselines=0)
    assert large[1] / 4000 == pytest.approx(second / 40)


def test_the_forecast_is_near_what_a_study_does() -> None:
    """Without ends before a rung's, and scores that say something about the next rung."""
    ratios = []
    for seed in range(40):
        rng, rungs = random.Random(seed), Rungs((1, 3, 9), 1 / 3, total=40)
        trials: dict[int, Standing] = {}
        worth = {number: rng.random() for number in range(40)}
        while (new := len(trials) < 40) or going_on(list(trials.values()), rungs, new=False):
            chosen = going_on(list(trials.values()), rungs, new=new)
            number = chosen[0] if chosen else len(trials)
            scores = dict(trials[number].scores) if chosen else {}
            for _ in range(3 if number < 2 else 1):  # the first two are baselines
                scores[len(scores) + 1] = worth[number] + rng.gauss(0, 0.1)
            stop = len(scores) if len(scores) < 3 else None
            known = number < 2
            trials[number] = Standing(number, stop, over=True, scores=scores, known=known)
        trained = sum(rungs.epochs[len(it.scores) - 1] for it in trials.values())
        ratios.append(trained / epochs_in_all(rungs, baselines=2))
    assert 0.92 < sum(ratios) / len(ratios) < 1.08
    assert 0.7 < min(ratios) <= max(ratios) < 1.6


def test_a_third_of_three_is_one() -> None:
    for count in range(1, 300):
        assert Rungs((1, 2), 1 / 3, 1).quota(3 * count, more=True) == count
    assert Rungs((1, 2), 0.1, 1).quota(10, more=True) == 1


# The config


def test_images_become_epochs_with_a_score() -> None:
    config = load_study_config(
        "quickstart",
        {"budget.images": [1000, 3000, 9000], "budget.keep": "1/4", "eval.every_epochs": 3},
    )
    assert config.budget.keep == 0.25
    settled = with_rungs(config, 480)
    # 1000 images are 3 epochs (of 2.1), 3000 are 7 of 6.25, with a score every third epoch.
    assert settled.budget.epochs == (3, 9, 19)
    assert settled.base.train.epochs == 19
    assert with_rungs(settled, 480) == settled
    rungs = Rungs.of(settled)
    assert rungs is not None
    assert [rungs.ending_at(epoch) for epoch in (3, 6, 9, 19)] == [1, None, 2, None]


def test_without_a_budget_nothing_changes() -> None:
    config = load_study_config("quickstart")
    assert with_rungs(config, 480) is config
    assert Rungs.of(config) is None


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"budget.images": [3000, 1000]}, "must be ascending numbers of images"),
        ({"budget.images": [1000, 1000]}, "must be ascending numbers of images"),
        ({"budget.images": [0, 1000]}, "must be ascending numbers of images"),
        ({"budget.images": [1000], "budget.keep": 1}, "budget.keep"),
        ({"budget.images": [1000], "budget.keep": "a third"}, "budget.keep"),
        ({"budget.images": [1000], "budget.keep": "1/0"}, "budget.keep"),
        ({"budget.images": [1000], "objective.mode": "pareto"}, "mode is pareto"),
        ({"budget.images": [1000], "pruner.name": "hyperband"}, "leave one of them out"),
        ({"budget.images": [1000], "eval.every_epochs": 0}, "scores on the way"),
        ({"budget.epochs": [2, 5]}, "budget.epochs follows from budget.images"),
        ({"budget.images": [1000, 9000], "budget.epochs": [5, 2]}, "budget.epochs follows"),
        ({"sampler.name": "cmaes", "objective.mode": "pareto"}, "cmaes cannot propose"),
        ({"budget.images": [1000], "train.epochs": 9}, "train.epochs must be left out"),
        ({"budget.image": [1000]}, "did you mean 'budget.images'"),
    ],
)
def test_a_wrong_budget_is_one_sentence(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_study_config("quickstart", settings)


def test_a_file_has_one_length(study_file: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match=r"train\.epochs must be left out"):
        load_study_config(study_file(budget__images=[32, 64]))  # the tiny study has epochs
    settled = with_rungs(load_study_config(study_file(), {"budget.images": [32, 64]}), 32)
    path = study_file(**settled.model_dump(mode="json"))
    assert load_study_config(path) == settled  # as a study's folder keeps it


def test_rungs_that_end_at_the_same_score_are_refused() -> None:
    config = load_study_config("quickstart", {"budget.images": [900, 1000, 9000]})
    with pytest.raises(ConfigError, match=r"end at the epochs 4, 4, 19, which must ascend") as it:
        with_rungs(config, 480)
    assert str(it.value).endswith("set base.eval.every_epochs to 1")
    config = load_study_config("quickstart", {"budget.images": [90, 100, 9000]})
    with pytest.raises(ConfigError, match=r"which must ascend; set them further apart$"):
        with_rungs(config, 480)  # both in the first epoch


@pytest.mark.parametrize("photos", [200, 527, 2000, 9304])
def test_the_advice_is_followed_by_rungs_that_fit(photos: int) -> None:
    """The shipped rungs, for a few hundred photos and for many."""
    config = load_study_config("cats")
    try:
        with_rungs(config, photos)
    except ConfigError as error:
        advice = int(str(error).rsplit(" ", 1)[-1])
        settled = with_rungs(load_study_config("cats", {"eval.every_epochs": advice}), photos)
        exact = tuple(math.ceil(images / photos) for images in config.budget.images)
        assert settled.budget.epochs == exact  # no rung is longer than it must be
    else:
        assert photos <= 1500


def test_defaults_are_no_rungs() -> None:
    assert StudyConfig.model_fields["budget"].default == BudgetConfig()
    assert BudgetConfig().images == ()


def test_rungs_take_the_place_of_the_default_pruner() -> None:
    plain = {
        "study": {"name": "x", "trials": 3},
        "space": {"model.nz": {"type": "int", "low": 4, "high": 8}},
    }
    rungs = plain | {"budget": {"images": [100, 200]}}
    assert StudyConfig.model_validate(plain).pruner.name == "median"
    assert StudyConfig.model_validate(rungs).pruner.name == "none"
    asked = rungs | {"pruner": {"name": "median"}}
    assert StudyConfig.model_validate(asked).pruner.name == "median"


def test_all_stay_while_no_trial_is_complete() -> None:
    rungs = Rungs((1, 3), 1 / 3, total=3)
    trials = [running(0, 1.0), paused(1, 2.0), paused(2, 3.0)]
    assert out_of_the_race(trials, rungs) == set()
    failed = [ended(0, 1.0), *trials[1:]]
    assert going_on(failed, rungs, new=False) == [1]
    assert out_of_the_race([ended(0, 1.0, 1.0), *trials[1:]], rungs) == {1, 2}
