"""Why each trial ended as it did, on studies whose course is known."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.study import Study
from optuna.trial import TrialState, create_trial

from study.config.study_config import StudyConfig
from study.results.autopsy import autopsies, trend
from study.storage.attributes import CONFIG_ATTRIBUTE
from study.storage.trial_result import DOOMED, HOPELESS, PAUSED, REASON, REVIVED

Maker = Callable[..., StudyConfig]
Shell = Callable[..., subprocess.CompletedProcess[str]]
C, P, F, R, W = (
    TrialState.COMPLETE,
    TrialState.PRUNED,
    TrialState.FAIL,
    TrialState.RUNNING,
    TrialState.WAITING,
)


def study_of(config: StudyConfig, *trials: dict[str, Any]) -> Study:
    study = optuna.create_study(study_name=config.study.name)
    study.set_user_attr(CONFIG_ATTRIBUTE, config.model_dump_json())
    for facts in trials:
        study.add_trial(create_trial(**facts))
    return study


def test_a_complete_trial_is_placed_and_its_end_is_described(tiny_study: Maker) -> None:
    study = study_of(
        tiny_study(),
        {"state": C, "value": 80.0, "intermediate_values": {10: 200, 20: 100, 30: 80}},
        {
            "state": C,
            "value": 100.0,
            "intermediate_values": {10: 70, 20: 99, 30: 100},
            "user_attrs": {"imbalance": 9.0, DOOMED: 20},
        },
        {
            "state": C,
            "value": 120.0,
            "intermediate_values": {10: 121, 20: 121, 30: 120},
            "user_attrs": {REVIVED: True, "imbalance": 1.0},
        },
        {"state": C, "value": 130.0, "intermediate_values": {30: 130}},
    )
    told = autopsies(study)
    assert told[0] == "score 80.00, 1st of 4 complete trials; still falling: −20% since epoch 20"
    assert told[1] == (
        "score 100.0, 2nd of 4 complete trials; +25% against trial 0; +43% since its best at epoch "
        "10; imbalance 9.0 raised its score by 5%; the pruner would have stopped it at epoch 20"
    )
    assert told[2] == (
        "score 120.0, 3rd of 4 complete trials; +50% against trial 0; level since epoch 20 (−1%); "
        "it was stopped, and revived"
    )
    assert told[3] == "score 130.0, 4th of 4 complete trials; +62% against trial 0"


def test_trials_that_did_not_end_well_say_why(tiny_study: Maker) -> None:
    hopeless = f"{HOPELESS}: best score 90.00 up to epoch 20, while it takes 50.00 there"
    study = study_of(
        tiny_study(),
        {
            "state": P,
            "intermediate_values": {10: 95.0, 20: 90.0},
            "user_attrs": {REASON: hopeless},
        },
        {
            "state": P,
            "intermediate_values": {10: 95.0, 20: 110.0},
            "user_attrs": {REASON: "D saturated since epoch 12: D(x) = 1.00"},
        },
        {"state": F, "user_attrs": {REASON: "OSError: disk full"}},
        {"state": R, "intermediate_values": {10: 95.0}},
        {"state": R},
        {"state": W},
        {"state": W, "user_attrs": {REASON: "interrupted after step 40"}},
    )
    assert list(autopsies(study).values()) == [
        hopeless,
        "D saturated since epoch 12: D(x) = 1.00; its best score was 95.00 at epoch 10",
        "OSError: disk full",
        "is training, last score at epoch 10",
        "is training",
        "waits to begin",
        "waits to go on: interrupted after step 40",
    ]


def test_a_trial_on_a_rung_is_placed_among_those_that_reached_it(tiny_study: Maker) -> None:
    config = tiny_study(
        budget={"images": [32, 64, 128], "epochs": [1, 2, 4], "keep": 0.5},
        base__train__epochs=4,
        pruner={"name": "none"},
    )
    paused = [
        {
            "state": P,
            "intermediate_values": {1: score},
            "user_attrs": {PAUSED: 1, REASON: "waits on rung 1 of 3, at epoch 1"},
        }
        for score in (30.0, 40.0)
    ]
    further = {
        "state": P,
        "intermediate_values": {1: 20.0, 2: 18.0},
        "user_attrs": {PAUSED: 2, REASON: "waits on rung 2 of 3, at epoch 2"},
    }
    told = autopsies(study_of(config, *paused, further))
    assert told[1] == (
        "waits on rung 1 of 3: score 40.00 at epoch 1, 3rd of the 3 proposed trials there, 1 of "
        "which went on by now; the worst of these had 20.00"
    )
    assert told[2].endswith("1st of the 1 proposed trials there, 0 of which went on by now")


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ({1: 10.0, 2: 9.0}, []),
        ({1: -1.0, 2: 1.0, 3: 2.0}, []),
        ({10: 10.0, 20: 10.0, 30: 10.8}, ["rising: +8% since epoch 20"]),
        ({30: 10.0, 40: 9.0, 50: 8.0}, ["still falling: −20% since epoch 30"]),
    ],
)
def test_trends(curve: dict[int, float], expected: list[str]) -> None:
    assert list(trend(curve)) == expected


def test_a_finished_study_says_it_in_the_shell_and_in_its_report(
    finished: Any, shell: Shell
) -> None:
    from study.report.page import render

    study, store = finished.summary.study, finished.store
    told = autopsies(study)
    assert set(told) == {trial.number for trial in study.get_trials()}
    shown = shell("show", finished.summary.name, "--why", "--store", store.root).stdout
    plain = json.loads(shell("show", finished.summary.name, "--json", "--store", store.root).stdout)
    page = render(study, store)
    for number, sentence in told.items():
        assert f"trial-{number:03d}: {sentence}\n" in shown
        assert plain["trials"] is not None
        assert sentence.replace("'", "&#39;") in page
    assert {row["number"]: row["why"] for row in plain["trials"]} == told
    refused = shell("show", finished.summary.name, "--why", "--csv", "--store", store.root, code=2)
    assert "--why is for people" in refused.stderr
