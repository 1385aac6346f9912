"""A study that begins with the best configs of earlier ones."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState, create_trial

from dcgan.errors import UsageError
from study.config.study_config import StudyConfig
from study.errors import StudyError, UnknownStudyError
from study.running.warm_start import warm_start
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store

Maker = Callable[..., StudyConfig]


def best_params(finished: Any) -> list[dict[str, Any]]:
    complete = [trial for trial in finished.trials if trial.state == TrialState.COMPLETE]
    return [trial.params for trial in sorted(complete, key=lambda trial: trial.values)][:3]


def test_the_best_three_become_baselines(finished: Any, tiny_study: Maker) -> None:
    new = tiny_study(study__name="new", baselines=[])
    config, notes = warm_start(new, finished.store, ["tiny"])
    added = config.baselines[len(new.baselines) :]
    expected = best_params(finished)
    assert [config.baseline_params(baseline) for baseline in added] == expected
    assert all(baseline.name.endswith(" of tiny") for baseline in added)
    assert notes == [
        f"--from tiny: begin as baseline: {', '.join(baseline.name for baseline in added)}"
    ]
    again, notes = warm_start(config, finished.store, ["tiny"])
    assert again == config
    first = added[0].name
    assert notes[0] == f"--from tiny: {first} is the same config as “{first}”"


def test_what_is_not_searched_here_and_other_photos_are_told(
    finished: Any, tiny_study: Maker
) -> None:
    space = tiny_study().model_dump(mode="json")["space"]
    del space["augment.blur_sigma"], space["model.ngf"]
    other = tiny_study(space=space, baselines=[], base__data__source="folder", study__name="new")
    config, (note,) = warm_start(other, finished.store, ["tiny"])
    assert len(config.baselines) == len(best_params(finished))
    assert note.endswith(
        "; augment.blur_sigma, model.ngf are not searched here; its photos were others, or read in "
        "another way"
    )
    for baseline, params in zip(config.baselines, best_params(finished), strict=True):
        kept = {"nz", "lr_g", "rotation_degrees"}
        assert config.baseline_params(baseline) == {key: params[key] for key in kept}


def test_what_was_not_searched_there_has_the_value_of_its_base(
    finished: Any, tiny_study: Maker
) -> None:
    space = tiny_study().model_dump(mode="json")["space"]
    space["model.ndf"] = {"type": "int", "low": 4, "high": 16}
    config, _ = warm_start(
        tiny_study(space=space, baselines=[], study__name="new"), finished.store, ["tiny"]
    )
    assert {baseline.params["model.ndf"] for baseline in config.baselines} == {4}


def test_a_value_outside_the_space_is_left_out(finished: Any, tiny_study: Maker) -> None:
    space = tiny_study().model_dump(mode="json")["space"]
    space["optim.lr_g"] |= {"low": 1e-6, "high": 2e-6}
    config, notes = warm_start(
        tiny_study(space=space, baselines=[], study__name="new"), finished.store, ["tiny"]
    )
    assert config.baselines == ()
    assert len(notes) == len(best_params(finished))
    assert all("left out: baseline 'trial-" in note for note in notes)
    assert "outside the search space" in notes[0]


def test_studies_without_a_best_config(own_finished: Store, tiny_study: Maker) -> None:
    new = tiny_study(study__name="new")
    with pytest.raises(UnknownStudyError, match="there is no study 'none'"):
        warm_start(new, own_finished, ["none"])
    with pytest.raises(UsageError, match="cannot be seeded with itself"):
        warm_start(tiny_study(), own_finished, ["tiny"])
    import optuna

    study = load_optuna_study(own_finished, "tiny")
    failed = optuna.create_study(study_name="failed", storage=study._storage)
    failed.set_user_attr("config", new.model_dump_json())
    failed.add_trial(create_trial(state=TrialState.FAIL))
    with pytest.raises(StudyError, match="none of its trials is complete"):
        warm_start(new, own_finished, ["failed"])


@pytest.mark.slow
def test_the_command_trains_them_first(
    own_finished: Store,
    study_file: Callable[..., Path],
    shell: Callable[..., subprocess.CompletedProcess[str]],
    finished: Any,
) -> None:
    file = study_file(study__trials=3, baselines=[], study__name="new")
    command = ("run", file, "--name", "new", "--store", own_finished.root, "--from", "tiny")
    said = shell(*command).stdout
    assert "--from tiny: begin as baseline: trial-" in said
    trials = load_optuna_study(own_finished, "new").get_trials()
    expected = best_params(finished)
    assert [trial.params for trial in trials[: len(expected)]] == expected
    assert all(trial.user_attrs["baseline"].endswith(" of tiny") for trial in trials[:2])
