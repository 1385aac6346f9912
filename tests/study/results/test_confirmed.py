"""What a confirmation says, in numbers and sentences."""

from __future__ import annotations

import math
from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState

from study.config.study_config import StudyConfig
from study.evidence.race import Estimate
from study.results.confirmed import Candidate, Confirmation, _candidates, more_seeds, wins
from study.results.confirmed_words import sentences_of, table_of
from study.storage.trial_result import TrialResult

CONFIG = StudyConfig.model_validate(
    {
        "study": {"name": "tiny.confirm", "trials": 1},
        "space": {"model.nz": {"type": "int", "low": 4, "high": 8}},
    }
)


def confirmation(*scores: list[float], baselines: int = 1) -> Confirmation:
    """The first configs are baselines; each was asked to train on what it has scores of."""
    candidates = [
        Candidate(
            number,
            f"base {number}" if number < baselines else None,
            50.0,
            dict(enumerate(values)),
            frozenset(range(len(values))),
        )
        for number, values in enumerate(scores)
    ]
    return Confirmation("tiny", CONFIG, tuple(candidates))


def test_a_clear_winner_beats_the_baseline_and_the_next() -> None:
    found = confirmation([100.0, 110.0, 105.0], [60.0, 63.0, 58.0], [80.0, 84.0, 81.0])
    first, second, third = sentences_of(found)
    assert found.leader is found.candidates[1]
    assert first.startswith("trial-001 beats base 0: its score is lower by 4")
    assert first.endswith("and lower on 3 of 3 seeds")
    assert second.startswith("trial-001 beats trial-002: ")
    assert third == "trial-001 is the best or within 10% of it with a probability of 100%"
    headings, *rows = table_of(found)
    assert [row[0] for row in rows] == ["trial-001", "trial-002", "base 0"]
    assert [dict(zip(headings, row, strict=True))["seeds"] for row in rows] == ["3", "3", "3"]
    assert rows[0][headings.index("above")] == ""
    assert [row[headings.index("ahead")] for row in rows] == ["", "on 0 of 3", "on 0 of 3"]
    assert "+" in rows[2][headings.index("above")]


def test_a_tie_says_how_many_seeds_would_tell() -> None:
    found = confirmation([100.0, 130.0], [95.0, 124.0])
    sentence, _ = sentences_of(found)
    assert sentence.startswith("trial-001 and base 0 are tied: the score of trial-001 differs by ")
    assert "and is lower on 2 of 2 seeds; " in sentence
    assert sentence.endswith(" would tell")


def test_more_seeds_narrow_the_interval_with_their_root() -> None:
    ratio = Estimate(0.9, 0.9 * math.exp(-0.2), 0.9 * math.exp(0.2))
    # Half an interval of 0.2 must become 0.105: (0.2 / 0.105)² times as many seeds.
    assert more_seeds(ratio, 4) == math.ceil(4 * (0.2 / math.log(1 / 0.9)) ** 2) - 4 == 11
    assert more_seeds(Estimate(1.0, 0.5, 2.0), 4) is None
    assert more_seeds(Estimate(0.999, 0.8, 1.25), 4) is None


def test_wins_count_the_seeds_that_both_have() -> None:
    one = Candidate(0, None, None, {1: 10.0, 2: 20.0, 3: 5.0})
    other = Candidate(1, None, None, {1: 11.0, 3: 4.0, 4: 1.0})
    assert wins(one, other) == (1, 2)
    assert wins(other, one) == (1, 2)


def test_nobody_leads_before_two_seeds() -> None:
    found = confirmation([100.0], [95.0])
    assert found.leader is None
    assert sentences_of(found) == ["no candidate has scores of two seeds yet"]


def test_those_that_dropped_out_do_not_lead() -> None:
    found = confirmation([100.0, 110.0, 105.0], [60.0, 63.0], [80.0, 84.0, 81.0])
    assert [it.trial for it in found.racing] == [0, 2]
    assert found.leader is found.candidates[2]


def test_scores_that_are_not_positive_have_no_ratio() -> None:
    found = confirmation([0.1, -0.01], [0.2, 0.1])
    assert not found.is_comparable
    assert (found.standings, found.leader, found.promise(1)) == (None, None, None)


def test_nobody_leads_while_a_racer_lacks_its_second_seed() -> None:
    found = confirmation([100.0, 110.0], [60.0, 63.0])
    assert found.leader is found.candidates[1]
    late = replace(found.candidates[0], scores={0: 100.0})
    assert replace(found, candidates=(late, found.candidates[1])).leader is None


def test_a_race_keeps_its_leader_while_others_join() -> None:
    """The one that joins has the lowest score, but of one training."""
    found = confirmation([100.0, 110.0, 104.0], [60.0, 63.0, 61.0], [20.0])
    *before, new = found.candidates
    new = replace(new, planned=frozenset(range(3)), joined_later=True)
    joined = replace(found, candidates=(*before, new))
    assert new in joined.racing
    assert joined.leader is joined.candidates[1]
    assert joined.ranked[0] is joined.candidates[1]
    whole = replace(new, scores={0: 20.0, 1: 21.0, 2: 19.0})
    assert replace(found, candidates=(*before, whole)).leader is whole


def test_who_joins_later_is_told_from_the_order_of_the_trainings(
    tiny_study: type[StudyConfig],
) -> None:
    planned = [(0, 1), (3, 1), (0, 2), (3, 2), (5, 1), (5, 2)]  # trial, seed
    baselines = [
        {
            "name": f"trial {trial}, seed {seed}",
            "params": {},
            "seed": seed,
            "repeats": {"study": "tiny", "trial": trial},
        }
        for trial, seed in planned
    ]
    config = tiny_study(baselines=baselines)  # type: ignore[call-arg]
    found = _candidates(config, [], [])
    assert {it.trial: it.joined_later for it in found} == {0: False, 3: False, 5: True}


def test_a_score_that_stands_for_none_says_nothing_of_the_noise() -> None:
    found = confirmation([100.0, 104.0, 98.0], [60.0, 61.0, 250.0])
    lost = replace(found.candidates[1], without_score=frozenset({2}))
    told = replace(found, candidates=(found.candidates[0], lost))
    plain = confirmation([100.0, 104.0, 98.0], [60.0, 61.0])
    assert told.standings is not None
    assert found.standings is not None
    assert plain.standings is not None
    assert told.standings.spread == pytest.approx(plain.standings.spread)
    assert found.standings.spread > 2 * told.standings.spread
    # It counts as a bad score all the same.
    assert told.expected(lost).value > 80
    assert dict(zip(*table_of(told)[:2], strict=True))["seeds"] in ("3", "3, 1 diverged")


def test_a_collapsed_training_counts_as_worse_than_all(tiny_study: type[StudyConfig]) -> None:
    repeats = {"study": "tiny", "trial": 4}
    baselines = [
        {"name": f"trial-004, seed {seed}", "params": {}, "seed": seed, "repeats": repeats}
        for seed in (1, 2, 3)
    ]
    config = tiny_study(baselines=baselines)  # type: ignore[call-arg]
    rows = [
        TrialResult(0, TrialState.COMPLETE, [20.0], baseline="trial-004, seed 1", score=20.0),
        TrialResult(1, TrialState.PRUNED, [15.0], baseline="trial-004, seed 2", score=15.0),
        TrialResult(2, TrialState.FAIL, baseline="trial-004, seed 3"),
    ]
    trials = [TrialResult(4, TrialState.COMPLETE, [18.0], score=18.0)]
    (found,) = _candidates(config, rows, trials)
    assert found == Candidate(
        4, None, 18.0, {1: 20.0, 2: 30.0}, frozenset({1, 2, 3}), frozenset({2})
    )
    assert not found.is_done


def test_a_study_that_was_never_confirmed_has_none() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    assert Confirmation.read(optuna.create_study(study_name="tiny")) is None
