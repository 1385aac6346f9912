"""Exports of confirmed configs, and `study verify`, which holds them to what they say."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from optuna.trial import FrozenTrial

from dcgan.config.settings import load_train_config, override
from dcgan.data.bank import PhotoBank, load_bank
from dcgan.errors import UsageError
from dcgan.evaluation.evaluator import configured_extractor
from dcgan.runtime.devices import resolve_device
from dcgan.training.loop import train
from study.errors import StudyMismatchError
from study.evidence.promise import Promise
from study.evidence.race import USUAL, Noise
from study.maintenance.delete import delete_study
from study.report.page import render
from study.results.confirmed import Confirmation
from study.results.confirmed_words import expected_in_words
from study.results.export import export_config, write_export
from study.results.selection import best_trial, pick_trial
from study.results.winner import final_noise
from study.running.confirm import Race, next_round
from study.running.study import run_study
from study.running.verify import Verification
from study.search.objective import score_of
from study.storage.attributes import CONFIG_ATTRIBUTE, study_config
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store, trial_name

Shell = Callable[..., subprocess.CompletedProcess[str]]
RACE = Race("tiny", top=1, seeds=2, epochs=2)


Copy = Callable[[Store, Path], Store]


@pytest.fixture(scope="module")
def confirmed_once(
    finished: Any, bank: PhotoBank, copy_of: Copy, tmp_path_factory: pytest.TempPathFactory
) -> Store:
    """The finished study after `study confirm`, two seeds each. Only to be read."""
    store = copy_of(finished.store, tmp_path_factory.mktemp("confirmed") / "store")
    while config := next_round(store, RACE):
        run_study(config, store, bank=bank)
    return store


@pytest.fixture
def confirmed(confirmed_once: Store, copy_of: Copy, tmp_path: Path) -> Store:
    """A copy of it, to be changed."""
    return copy_of(confirmed_once, tmp_path / "own")


def test_the_confirmed_winner_is_exported_and_says_what_to_expect(
    confirmed: Store, finished: Any, tmp_path: Path
) -> None:
    study = load_optuna_study(confirmed, "tiny")
    found = Confirmation.read(study)
    assert found is not None
    leader = found.leader
    assert leader is not None
    exported = export_config(study)
    assert exported.provenance["trial"] == trial_name(leader.trial)
    promise = Promise.from_dict(exported.provenance["expected"])
    assert promise == found.promise(leader.trial)
    assert (promise.seeds, promise.epochs) == (2, 2)
    for candidate in found.candidates:  # each knows its own
        values = export_config(study, candidate.trial).provenance["expected"]
        assert Promise.from_dict(values) == found.promise(candidate.trial)
    told = expected_in_words(exported.provenance)
    assert told is not None
    assert told.startswith("confirmed on 2 seeds: expected score ")
    others = {trial.number for trial in study.get_trials()} - {it.trial for it in found.candidates}
    for number in others:
        assert "expected" not in export_config(study, number).provenance
    # Without the race it is the trial with the lowest score.
    assert pick_trial(finished.summary.study, None) == best_trial(finished.summary.study)
    assert expected_in_words(export_config(finished.summary.study).provenance) is None
    path = tmp_path / "best.yaml"
    write_export(exported, path)
    assert load_train_config(path) == exported


def test_the_leader_is_picked_although_another_scored_lower_in_the_search(
    confirmed: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = load_optuna_study(confirmed, "tiny")
    found = Confirmation.read(study)
    assert found is not None
    other = next(it for it in found.candidates if it.trial != best_trial(study).number)
    monkeypatch.setattr(Confirmation, "leader", other)
    assert pick_trial(study, None).number == other.trial


def test_a_promise_is_not_made_for_other_settings(confirmed: Store) -> None:
    """The settings of the full run may change after the race."""
    study = load_optuna_study(confirmed, "tiny")
    config = study_config(study)
    changed = config.model_copy(update={"full_run": {**config.full_run, "eval.n_samples": 32}})
    study.set_user_attr(CONFIG_ATTRIBUTE, changed.model_dump_json())
    exported = export_config(study)
    assert exported.eval.n_samples == 32
    assert "expected" not in exported.provenance
    assert expected_in_words(exported.provenance) == (
        "what it is expected to score is not known: it was confirmed with another eval.n_samples"
    )


def test_a_study_of_the_same_name_is_another_one(
    confirmed: Store, finished: Any, bank: PhotoBank
) -> None:
    assert Confirmation.read(load_optuna_study(confirmed, "tiny")) is not None
    assert delete_study(confirmed, "tiny", lambda question: True)
    again = override(finished.config, {"study.seed": 6, "study.trials": 3})
    study = run_study(again, confirmed, bank=bank).study
    assert Confirmation.read(study) is None
    assert pick_trial(study, None) == best_trial(study)
    assert "expected" not in export_config(study).provenance


def test_the_noise_of_trials_is_that_at_their_length(confirmed: Store, bank: PhotoBank) -> None:
    """The race is longer than the trials; what it says of them is its scores at their length."""
    study = load_optuna_study(confirmed, "tiny")
    trials = load_optuna_study(confirmed, "tiny.confirm").get_trials()
    config = override(study_config(study), {"base.train.epochs": 1})
    study.set_user_attr(CONFIG_ATTRIBUTE, config.model_dump_json())
    assert all(1 in trial.intermediate_values for trial in trials)
    pairs = [[trial for trial in trials if trial.params == given] for given in distinct(trials)]
    logs = [np.log([trial.intermediate_values[1] for trial in pair]) for pair in pairs]
    squares = sum(((values - values.mean()) ** 2).sum() for values in logs)
    weight = USUAL.weight + len(pairs)
    assumed = config.noise.assumed or USUAL.spread
    expected = ((USUAL.weight * assumed**2 + squares) / weight) ** 0.5
    assert final_noise(study) == pytest.approx(Noise(expected, weight))


def distinct(trials: Sequence[FrozenTrial]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for trial in trials:
        if trial.params not in found:
            found.append(trial.params)
    return found


def test_an_export_is_trained_again_on_fresh_seeds(
    confirmed: Store, bank: PhotoBank, tmp_path: Path
) -> None:
    path = tmp_path / "best.yaml"
    exported = export_config(load_optuna_study(confirmed, "tiny"))
    write_export(exported, path)
    found = Verification.of(path, {})
    assert found.config.train.epochs == 2  # as confirmed, not 4 as exported
    assert len({found.seed(1), found.seed(2), exported.train.seed}) == 3
    score = found.train(1, bank=bank)
    config = override(exported, {"train.epochs": 2, "train.seed": found.seed(1)}, "test")
    straight = train(config, tmp_path / "straight", bank=bank)
    assert score == score_of(straight.selected, found.objective)
    assert found.train(1, bank=bank) == score  # it is there
    # Trainings of another length are others.
    assert found.folder.parent == tmp_path / "best.verify"
    assert found.folder.name == f"{exported.provenance['trial']}-2-epochs"


def test_what_cannot_be_verified_is_refused_in_a_sentence(
    confirmed: Store, bank: PhotoBank, tmp_path: Path
) -> None:
    study, path = load_optuna_study(confirmed, "tiny"), tmp_path / "best.yaml"
    exported = export_config(study)
    write_export(exported, path)
    found = Verification.of(path, {})
    extractor = configured_extractor(found.config, resolve_device("cpu"))
    found.check(bank, extractor)
    photos = load_bank(override(exported.data, {"toy_count": 40}, "test"))
    with pytest.raises(StudyMismatchError, match="the photos of the export had the fingerprint"):
        found.check(photos, extractor)
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    for broken in ({"score": -1.0}, "nonsense", None):
        data["provenance"]["expected"] = broken
        path.write_text(yaml.safe_dump(data), encoding="utf-8")
        with pytest.raises(UsageError, match="does not say what its config is expected to score"):
            Verification.of(path, {})


@pytest.mark.slow
def test_the_command_says_whether_the_promise_is_kept(
    confirmed: Store, shell: Shell, tmp_path: Path
) -> None:
    path = tmp_path / "best.yaml"
    told = shell("export", "tiny", "--store", confirmed.root, "-o", path).stdout
    assert "confirmed on 2 seeds: expected score " in told
    done = shell("verify", path, "--seeds", 2)
    assert "seed 2: score " in done.stdout
    assert "\nas promised: within " in done.stdout
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name in ("score", "low", "high"):
        data["provenance"]["expected"][name] *= 10
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    assert "\nnot as promised: outside " in shell("verify", path, "--seeds", 2, code=1).stdout
    assert "there is no config file" in shell("verify", tmp_path / "none.yaml", code=2).stderr


@pytest.mark.slow
def test_the_report_shows_the_race_and_what_is_chance(confirmed: Store, finished: Any) -> None:
    page = render(load_optuna_study(confirmed, "tiny"), confirmed)
    assert "<h2>Confirmed</h2>" in page
    assert "trained again for 2 epochs on the same fresh seeds" in page
    assert "<th>trial</th><th>seeds</th><th>score</th>" in page
    assert " beats " in page or " are tied: " in page
    assert "scores of the trials differ by " in page
    assert "<h2>Confirmed</h2>" not in render(finished.summary.study, finished.store)
