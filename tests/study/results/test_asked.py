"""Answers to questions, in numbers and sentences."""

from __future__ import annotations

from dataclasses import replace

import pytest
from optuna.trial import TrialState

from study.config.study_config import StudyConfig
from study.errors import StudyError
from study.results.asked import Asked, Pair
from study.results.asked_words import answer_in_words, table_of
from study.results.repeated import Training, trainings_of
from study.storage.trial_result import TrialResult


def asked(*scores: tuple[float, float], most: int = 12) -> Asked:
    pairs = (Pair(3, Training(one, False), Training(two, False)) for one, two in scores)
    return Asked("augment.hue", (0, 0.1), 40, len(scores), tuple(pairs), most)


def test_what_hurts_says_by_how_much() -> None:
    found = asked((100.0, 150.0), (90.0, 140.0), (110.0, 160.0), (95.0, 148.0), (99.0, 150.0))
    told = answer_in_words(found)
    assert told.startswith("hue 0.1 instead of 0 hurts: it changes the score by +5")
    assert told.endswith("a lower score in 0 of 5 pairs of 40 epochs")
    assert found.is_over()
    assert table_of(found)[:2] == [
        ["trial", "hue 0", "hue 0.1", "change"],
        ["trial-003", "100.0", "150.0", "+50%"],
    ]


def test_what_does_not_matter_and_what_is_open() -> None:
    alike = asked((100.0, 101.0), (90.0, 89.0), (95.0, 95.0), (99.0, 98.5), (91.0, 91.5))
    assert "makes no difference worth mentioning: " in answer_in_words(alike)
    undecided = asked((100.0, 140.0), (90.0, 80.0))
    told = answer_in_words(undecided)
    assert told.startswith("hue 0.1 instead of 0: undecided, +")
    assert told.endswith("more pairs would tell")
    assert not undecided.is_over()
    assert asked((100.0, 140.0), (90.0, 80.0), most=2).is_over()
    one = answer_in_words(asked((100.0, 50.0)))
    assert one == (
        "hue 0.1 instead of 0: undecided, −50%, a lower score in 1 of 1 pairs of 40 epochs"
    )
    assert answer_in_words(asked()) == "no pair of trainings has ended yet"


def test_pairs_of_which_both_collapsed_say_nothing() -> None:
    lost = Pair(3, Training(150.0, True), Training(150.0, True))
    found = asked((100.0, 140.0), (90.0, 80.0))
    with_lost = replace(found, planned=4, pairs=(*found.pairs, lost, lost))
    assert with_lost.change() == found.change()
    assert not with_lost.is_over()
    assert replace(with_lost, most=4).is_over()
    only = replace(found, pairs=(lost, lost))
    assert answer_in_words(only) == "all trainings collapsed"
    assert not only.is_over()


def test_only_pairs_before_the_first_open_one_count(tiny_study: type[StudyConfig]) -> None:
    """Otherwise the order in which workers finish would decide what is looked at."""
    key = "augment.rotation_degrees"
    baselines = [
        {"name": f"{value} {seed}", "params": {key: value}, "seed": seed, "repeats": source}
        for seed in (1, 2, 3)
        for value, source in (
            (0, {"study": "s", "trial": seed}),
            (10, {"study": "s", "trial": seed}),
        )
    ]
    config = tiny_study(baselines=baselines)  # type: ignore[call-arg]
    done = [("0 1", 20.0), ("10 1", 30.0), ("0 2", 25.0), ("10 3", 26.0), ("0 3", 24.0)]
    rows = [
        TrialResult(number, TrialState.COMPLETE, [score], baseline=name, score=score)
        for number, (name, score) in enumerate(done)
    ]
    found = Asked.of(config, key, rows)
    assert found.planned == 3
    assert found.pairs == (Pair(1, Training(20.0, False), Training(30.0, False)),)
    rows[0] = TrialResult(0, TrialState.COMPLETE, [-1.0], baseline="0 1", score=-1.0)
    with pytest.raises(StudyError, match="scores that are not positive"):
        Asked.of(config, key, rows)


def test_a_training_that_failed_is_missing_and_one_that_collapsed_is_the_worst() -> None:
    rows = [
        TrialResult(0, TrialState.COMPLETE, [20.0], baseline="a", score=20.0),
        TrialResult(1, TrialState.PRUNED, [12.0], baseline="b", score=12.0),
        TrialResult(2, TrialState.PRUNED, None, baseline="c"),
        TrialResult(3, TrialState.FAIL, None, baseline="d"),
        TrialResult(4, TrialState.RUNNING, None, baseline="e"),
    ]
    worst = Training(30.0, True)
    assert trainings_of(rows) == {"a": Training(20.0, False), "b": worst, "c": worst}
