"""What MLflow shows of trials and studies in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from study.config.study_config import StudyConfig
from study.storage.trial_record import TrialRecord
from study.tracking import words

STANDARD = {"nz": 8, "ngf": 8, "lr_g": 2e-3}
PARAMS = {"nz": 12, "ngf": 8, "lr_g": 0.000123456}


def record(**changes: Any) -> TrialRecord:
    facts: dict[str, Any] = {"origin": "sampler", "baseline": None, "seed": 1, "state": "COMPLETE"}
    return TrialRecord(7, params=PARAMS, **(facts | {"score": 2043.8, "best_epoch": 4} | changes))


def test_a_name_says_number_score_and_what_differs() -> None:
    assert words.run_name(record(), STANDARD) == "trial-007 · 2044 · nz 12, lr_g 0.0001235"
    assert words.run_name(record(score=None), STANDARD) == "trial-007 · nz 12, lr_g 0.0001235"
    assert words.run_name(record(baseline="good"), STANDARD) == "trial-007 · 2044 · good"
    assert words.run_name(record(), PARAMS) == "trial-007 · 2044"
    many = record()
    many.params = {f"p{number}": number for number in range(5)}
    assert words.run_name(many, STANDARD) == "trial-007 · 2044 · p0 0, p1 1, p2 2 +2"
    assert words.run_name(many, {}) == "trial-007 · 2044"


@pytest.mark.parametrize(
    ("state", "says", "shown"),
    [
        ("COMPLETE", "is complete, score **2044**, best at epoch 4.", None),
        ("PRUNED", "was stopped early", words.GREY),
        ("FAIL", "failed", words.RED),
        ("WAITING", "was interrupted and will be continued", None),
    ],
)
def test_a_description_says_how_the_trial_ended(state: str, says: str, shown: str | None) -> None:
    ended = record(state=state, reason="hopeless")
    text = words.note(ended, "mine", "the recipe", STANDARD)
    assert text.startswith(f"trial-007 {says}")
    assert "Reason: hopeless." in text
    assert "differs from the baseline “the recipe” in nz 12, lr_g 0.0001235" in text
    assert ("study train mine --trial 7" in text) == (state in ("COMPLETE", "PRUNED"))
    assert "differs" not in words.note(ended, "mine", "", {})  # without baselines
    assert words.colour(ended) == shown
    known = record(state=state, origin="baseline", baseline="good")
    assert words.colour(known) == words.GOLD
    assert "It is the baseline “good”." in words.note(known, "mine", "the recipe", STANDARD)
    longer = record(state=state, origin="extended", baseline="trial-003 of mine")
    assert words.colour(longer) == shown
    assert "It continues trial-003 of mine." in words.note(longer, "mine", "the recipe", STANDARD)


def test_a_rank_is_added_and_removed() -> None:
    text = words.note(record(), "mine", "recipe", STANDARD)
    ranked = words.rank_line(3) + text
    assert ranked.startswith("**Rank 3.** trial-007")
    assert words.without_rank(ranked) == text == words.without_rank(text)


def test_a_study_is_described(tiny_study: Callable[..., StudyConfig]) -> None:
    config = tiny_study()
    params = words.study_params(config)
    assert params["search.nz"] == "4 to 16 (log)"
    assert params["sampler"] == "tpe"
    assert params["photos"] == "toy_cats"
    assert "rungs" not in params
    rungs = {"budget__images": [3200, 64000], "budget__keep": 0.25}
    params = words.study_params(tiny_study(**rungs))
    assert params["rungs"] == "3,200, 64,000 images, 25% go on"
    name, standard = words.standard_of(config)
    assert (name, standard["nz"]) == ("good", 8)
    assert words.standard_of(tiny_study(baselines=[])) == ("", {})
    table = "".join(f"| {number} |\n" for number in ("trial", "---", *range(30)))
    note = words.study_note(config, f"# tiny\n\n{table}")
    assert "study train tiny" in note
    assert "| 19 |" in note
    assert "| 20 |" not in note
    assert "10 more trials are in `leaderboard.md`" in note
    assert "more trials" not in words.study_note(config, "# tiny\n\n| trial |\n| --- |\n| 1 |\n")
