"""`study confirm`: configs of a study, trained again on several seeds, as a race."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from dcgan.config.settings import override
from dcgan.data.bank import PhotoBank, load_bank
from dcgan.errors import OutOfMemoryError, UsageError
from dcgan.training.loop import train
from study.cli.rounds import run_rounds
from study.config.space import trial_config
from study.config.study_config import StudyConfig
from study.errors import StudyError, StudyMismatchError, UnknownStudyError
from study.evidence import race as races
from study.maintenance.delete import delete_study
from study.results.confirmed import Confirmation
from study.results.leaderboard import rows_of
from study.running.confirm import Race, next_round
from study.running.derived import check_same_measure
from study.running.observer import LossesLogged
from study.running.study import StudySummary, run_study
from study.search.objective import score_of
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store
from study.storage.trial_result import TrialResult

Maker = Callable[..., StudyConfig]
Shell = Callable[..., subprocess.CompletedProcess[str]]
RACE = Race("tiny", top=1, seeds=3, epochs=2)


@pytest.fixture(autouse=True)
def _never_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Races go on to their last seed, whatever tiny trainings score."""
    monkeypatch.setattr(races, "SURE", 1.1)
    monkeypatch.setattr(races, "HOPELESS", -1.0)


def run_all(store: Store, race: Race, bank: PhotoBank, **more: Any) -> StudySummary:
    """Round after round until the race is over."""
    done = None
    while config := next_round(store, race):
        done = run_study(config, store, bank=bank, **more)
        if done.interrupted:
            break
    assert done is not None
    return done


def read(store: Store, name: str = "tiny") -> Confirmation:
    found = Confirmation.read(load_optuna_study(store, name))
    assert found is not None
    return found


def best_proposed(finished: Any) -> TrialResult:
    rows = rows_of(finished.summary.study)
    return next(r for r in rows if r.state == TrialState.COMPLETE and not r.is_baseline)


def test_all_candidates_train_on_the_same_fresh_seeds(
    own_finished: Store, finished: Any, bank: PhotoBank, tmp_path: Path, mirror_of: Any
) -> None:
    before = rows_of(finished.summary.study)
    done = run_all(own_finished, RACE, bank)
    assert (done.name, done.interrupted) == ("tiny.confirm", False)
    found = read(own_finished)
    best = best_proposed(finished)
    baselines = {row.baseline for row in before if row.is_baseline and row.state.is_finished()}
    assert {it.name for it in found.candidates} == {f"trial-{best.number:03d}"} | baselines
    seeds = found.candidates[0].planned
    assert len(seeds) == RACE.seeds
    assert all(it.planned == seeds == set(it.scores) for it in found.candidates)
    assert not seeds & {row.seed for row in before}
    # A repeated training is the trial's with another seed, and nothing else.
    candidate = next(it for it in found.candidates if it.trial == best.number)
    assert candidate.searched == best.score
    for seed, score in candidate.scores.items():
        config = trial_config(finished.config, best.params, best.number, seed)
        straight = train(config, tmp_path / str(seed), bank=bank, progress=False)
        assert score == score_of(straight.selected, finished.config.objective)
    # The study is as it was, and its race is a study of its own in MLflow.
    assert rows_of(load_optuna_study(own_finished, "tiny")) == before
    names = {
        run.data.tags["baseline"] for run in mirror_of(own_finished, "tiny.confirm").runs("trial")
    }
    assert f"trial-{best.number:03d}, seed 3" in names
    notes = [
        run.data.tags["mlflow.note.content"]
        for run in mirror_of(own_finished, "tiny.confirm").runs("trial")
    ]
    assert sum("It repeats trial-" in note for note in notes) == RACE.seeds
    # Asked again, nothing is left to do; asked for more, only what is new trains.
    assert next_round(own_finished, RACE) is None
    more = next_round(own_finished, replace(RACE, seeds=4))
    assert more is not None
    assert len(more.baselines) - len(read(own_finished).candidates) * 3 == 3


def test_the_length_is_that_of_the_full_run(own_finished: Store) -> None:
    config = next_round(own_finished, replace(RACE, epochs=None))
    assert config is not None
    assert config.base.train.epochs == 4
    assert not config.base.eval.fid_at_end  # nobody compares it
    assert (config.pruner.name, config.study.timeout_minutes) == ("none", None)


def test_a_race_that_is_cut_off_anywhere_goes_on_as_if_it_had_not(
    own_finished: Store, finished: Any, bank: PhotoBank, watch: Any, tmp_path: Path
) -> None:
    other = Store.at(tmp_path / "other")
    shutil.copytree(own_finished.root, other.root)
    short = replace(RACE, seeds=2)
    run_all(own_finished, short, bank)
    assert run_all(other, short, bank, observer=watch(stop_after=(4, 1))).interrupted
    assert not all(it.is_done for it in read(other).candidates)
    run_all(other, short, bank)
    one, two = read(own_finished), read(other)
    assert [it.scores for it in one.candidates] == [it.scores for it in two.candidates]
    assert one.leader == two.leader


def test_those_that_cannot_win_drop_out(
    own_finished: Store, bank: PhotoBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = next_round(own_finished, RACE)
    assert first is not None
    run_study(first, own_finished, bank=bank)
    begun = read(own_finished)
    chances = sorted((begun.chance(it), it.trial) for it in begun.candidates)
    (lowest, last), (second, _), _ = chances
    monkeypatch.setattr(races, "HOPELESS", (lowest + second) / 2)
    run_all(own_finished, RACE, bank)
    counts = {it.trial: len(it.scores) for it in read(own_finished).candidates}
    assert counts.pop(last) == races.FEWEST_SEEDS
    assert set(counts.values()) == {3}
    assert last not in {it.trial for it in read(own_finished).racing}
    # Who asks for so many seeds of each gets them of those that had dropped out, too.
    more = next_round(own_finished, replace(RACE, least=3))
    assert more is not None
    added = more.baselines[sum(counts.values()) + races.FEWEST_SEEDS :]
    assert [it.repeats.trial for it in added if it.repeats] == [last]


def test_a_race_ends_when_it_is_decided(
    own_finished: Store, bank: PhotoBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(races, "SURE", 0.0)
    run_all(own_finished, RACE, bank)
    assert read(own_finished).seeds == races.FEWEST_SEEDS
    assert next_round(own_finished, RACE) is None
    # With a least number of seeds nothing ends or drops out before; it goes on from what is there.
    run_all(own_finished, replace(RACE, least=3), bank)
    found = read(own_finished)
    assert all(len(it.scores) == 3 for it in found.candidates)
    with pytest.raises(UsageError, match="--seeds must be at least 4, but got 3"):
        next_round(own_finished, replace(RACE, least=4))
    with pytest.raises(UsageError, match="--min-seeds must be at least 2, but got 1"):
        next_round(own_finished, replace(RACE, least=1))


def test_a_new_candidate_catches_up_first(tiny_study: Maker, store: Store, bank: PhotoBank) -> None:
    run_study(tiny_study(study__trials=4, pruner__name="none"), store, bank=bank)
    run_all(store, replace(RACE, seeds=2), bank)
    before = read(store)
    run_all(store, replace(RACE, top=2, seeds=2), bank)
    after = read(store)
    assert len(after.candidates) == len(before.candidates) + 1 == 4
    assert len({it.planned for it in after.candidates}) == 1
    kept = {it.trial: it.scores for it in after.candidates}
    assert all(kept[it.trial] == it.scores for it in before.candidates)


def test_what_failed_is_tried_again(own_finished: Store, bank: PhotoBank, watch: Any) -> None:
    def fail(event: Any) -> None:
        if isinstance(event, LossesLogged) and event.trial == 1:
            raise ValueError("no such luck")

    config = next_round(own_finished, RACE)
    assert config is not None
    done = run_study(config, own_finished, bank=bank, observer=watch(fail))
    assert [it.state for it in done.study.get_trials()].count(TrialState.FAIL) == 1
    assert not all(it.is_done for it in read(own_finished).candidates)
    run_all(own_finished, RACE, bank)
    assert all(it.is_done and len(it.scores) == 3 for it in read(own_finished).candidates)


def test_several_objectives_are_refused_and_a_training_without_memory_is_tried_again(
    own_finished: Store,
    finished: Any,
    tiny_study: Maker,
    store: Store,
    bank: PhotoBank,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_study(tiny_study(study__trials=1, objective__mode="pareto"), store, bank=bank)
    with pytest.raises(UsageError, match="'tiny' minimises several objectives, but a race"):
        next_round(store, RACE)

    def full(*_: Any, **__: Any) -> None:
        raise OutOfMemoryError("out of memory")

    config = next_round(own_finished, RACE)
    assert config is not None
    with monkeypatch.context() as patched:
        patched.setattr("study.running.trial.train", full)
        with pytest.raises(StudyError, match="3 trials in a row"):
            run_study(config, own_finished, bank=bank)
    assert not any(it.scores for it in read(own_finished).candidates)
    again = next_round(own_finished, RACE)
    assert again is not None
    assert run_study(again, own_finished, bank=bank).finished == again.study.trials
    assert all(it.is_done and not it.without_score for it in read(own_finished).candidates)


def test_what_cannot_be_confirmed_is_refused_in_a_sentence(
    own_finished: Store, finished: Any, tiny_study: Maker, bank: PhotoBank, store: Store
) -> None:
    with pytest.raises(UnknownStudyError, match="there is no study 'nix'"):
        next_round(own_finished, replace(RACE, name="nix"))
    with pytest.raises(UsageError, match="--seeds must be at least 2, but got 1"):
        next_round(own_finished, replace(RACE, seeds=1))
    run_study(tiny_study(study__trials=1, baselines=[]), store, bank=bank)
    with pytest.raises(StudyError, match="'tiny' has 1 complete trial, but a race needs at least"):
        next_round(store, RACE)
    config = next_round(own_finished, RACE)
    assert config is not None
    run_study(config, own_finished, bank=bank)
    with pytest.raises(UsageError, match="--epochs 3: 'tiny' is being confirmed by trainings of 2"):
        next_round(own_finished, replace(RACE, epochs=3))
    again = next_round(own_finished, replace(RACE, epochs=None))
    assert again is not None
    assert again.base.train.epochs == 2
    photos = override(finished.config.base, {"data.toy_count": 40}, "test")
    study = load_optuna_study(own_finished, "tiny")
    with pytest.raises(StudyMismatchError, match="the photos of 'tiny' had the fingerprint"):
        check_same_measure(study, config, load_bank(photos.data))


def test_of_trials_with_the_same_config_one_races(
    tiny_study: Maker, store: Store, bank: PhotoBank
) -> None:
    space = {"model.nz": {"type": "categorical", "choices": [4, 8]}}
    known = [{"name": "four", "params": {"model.nz": 4}}]
    small = tiny_study(space=space, baselines=known, study__trials=4, pruner__name="none")
    run_study(small, store, bank=bank)
    config = next_round(store, replace(RACE, top=3))
    assert config is not None
    assert [it.params["model.nz"] for it in config.baselines] == [4, 8, 4, 8]


def test_a_race_of_another_study_of_that_name_is_refused(
    tiny_study: Maker, store: Store, bank: PhotoBank, watch: Any
) -> None:
    run_study(tiny_study(study__trials=3, pruner__name="none"), store, bank=bank)
    config = next_round(store, RACE)
    assert config is not None
    run_study(config, store, bank=bank, observer=watch(stop_after=(0, 1)))
    assert delete_study(store, "tiny", lambda question: True)
    other = tiny_study(study__trials=3, study__seed=6, pruner__name="none")
    run_study(other, store, bank=bank)
    with pytest.raises(UsageError, match=r"'tiny\.confirm' repeats trials of an earlier study"):
        next_round(store, RACE)


@pytest.mark.slow
def test_the_command_prints_who_is_best(own_finished: Store, shell: Shell) -> None:
    asked = ["confirm", "tiny", "--top", "1", "--seeds", "2", "--epochs", "2"]
    where = ["--store", own_finished.root]
    first = shell(*asked, *where).stdout
    told = "2 epochs each of good of trial-000, seed 1, slow of trial-001, seed 1, trial-"
    assert told in first
    assert "expected score after 2 epochs, over seeds" in first
    assert " beats " in first or " are tied: " in first
    again = shell(*asked, *where).stdout
    assert again in first
    assert "epochs each of" not in again
    assert "not over" not in again
    more = ["--min-seeds", "6", "--seeds", "6", "--budget", "0.0001"]
    paused = shell(*asked[:2], *more, *where).stdout
    assert "this is not over; the same command continues it" in paused
    assert "delete tiny.confirm" in shell(*asked[:2], "--epochs", "3", *where, code=2).stderr


def test_trainings_that_keep_failing_end_the_command_with_what_is_known(
    own_finished: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each for another reason, so that the study itself does not stop."""
    numbers, told = itertools.count(), list[Confirmation | None]()

    def fail(*_: Any, **__: Any) -> None:
        raise ValueError(f"reason {'x' * next(numbers)}")

    monkeypatch.setattr("study.running.trial.train", fail)
    study = load_optuna_study(own_finished, "tiny")
    with pytest.raises(StudyError, match=r"6 of 6 trainings of .* have failed, the la"):
        run_rounds(
            lambda: next_round(own_finished, RACE),
            study,
            own_finished,
            {},
            None,
            lambda: told.append(Confirmation.read(study)),
        )
    assert len(told) == 1
