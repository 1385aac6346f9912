"""`study ask`: pairs of trainings that differ in one setting of a study."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from dcgan.config.settings import override
from dcgan.data.bank import PhotoBank
from dcgan.errors import ConfigError, UsageError
from dcgan.training.loop import train
from study.config.space import trial_config
from study.config.study_config import StudyConfig
from study.errors import StudyError, UnknownStudyError
from study.evidence.paired import Verdict
from study.maintenance.delete import delete_study
from study.results.asked import Asked
from study.results.leaderboard import rows_of
from study.running.ask import Question, next_pairs
from study.running.study import StudySummary, run_study
from study.search.objective import score_of
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store
from study.storage.trial_result import TrialResult

Maker = Callable[..., StudyConfig]
Shell = Callable[..., subprocess.CompletedProcess[str]]
KEY = "augment.blur_sigma"
BLUR = Question("tiny", KEY, (0, [0.1, 1.2]), pairs=3)


def run_all(store: Store, question: Question, bank: PhotoBank, **more: Any) -> StudySummary:
    done = None
    while config := next_pairs(store, question):
        done = run_study(config, store, bank=bank, **more)
        if done.interrupted:
            break
    assert done is not None
    return done


def read(store: Store, key: str = KEY) -> Asked:
    found = Asked.read(load_optuna_study(store, "tiny"), key)
    assert found is not None
    return found


def test_both_trainings_of_a_pair_differ_in_the_setting_alone(
    own_finished: Store, finished: Any, bank: PhotoBank, tmp_path: Path
) -> None:
    before = rows_of(finished.summary.study)
    done = run_all(own_finished, BLUR, bank)
    assert done.name == "tiny.ask.blur_sigma"
    found = read(own_finished)
    assert (found.values, found.epochs) == ((0, [0.1, 1.2]), 2)
    assert len(found.pairs) == found.planned == 3 or found.is_over()
    trials = sorted(done.study.get_trials(), key=lambda trial: trial.number)
    of = {row.number: row for row in before}
    seeds = set()
    for pair, first, second in zip(found.pairs, trials[::2], trials[1::2], strict=True):
        assert first.user_attrs["seed"] == second.user_attrs["seed"]
        seeds.add(first.user_attrs["seed"])
        expected = of[pair.trial].params
        for trial, value, training in (
            (first, 0, pair.without),
            (second, "[0.1, 1.2]", pair.with_it),
        ):
            assert trial.params == expected | {"blur_sigma": value}
            seed = trial.user_attrs["seed"]
            config = trial_config(finished.config, trial.params, trial.number, seed)
            straight = train(config, tmp_path / str(trial.number), bank=bank, progress=False)
            assert training.score == score_of(straight.selected, finished.config.objective)
            assert not training.collapsed
    assert len(seeds) == len(found.pairs)
    assert len({pair.trial for pair in found.pairs}) == len(found.pairs)
    assert not seeds & {row.seed for row in before}
    assert rows_of(load_optuna_study(own_finished, "tiny")) == before
    assert next_pairs(own_finished, BLUR) is None


def test_a_question_that_is_cut_off_goes_on_as_if_it_had_not(
    own_finished: Store, bank: PhotoBank, watch: Any, tmp_path: Path
) -> None:
    other = Store.at(tmp_path / "other")
    shutil.copytree(own_finished.root, other.root)
    question = replace(BLUR, pairs=2)
    run_all(own_finished, question, bank)
    assert run_all(other, question, bank, observer=watch(stop_after=(1, 1))).interrupted
    assert read(other).pairs == ()
    run_all(other, question, bank)
    assert read(other).pairs == read(own_finished).pairs


def test_pairs_at_once_begin_together(own_finished: Store) -> None:
    config = next_pairs(own_finished, BLUR, at_once=2)
    assert config is not None
    assert len(config.baselines) == 4
    config = next_pairs(own_finished, BLUR, at_once=5)
    assert config is not None
    assert len(config.baselines) == 2 * BLUR.pairs


def test_a_setting_that_changes_nothing_ends_after_two_pairs(
    own_finished: Store, bank: PhotoBank
) -> None:
    """Each pair is almost the same training twice."""
    question = Question.parse(own_finished, "tiny", "lr_g=0.001,0.0010000000001", 6, None)
    run_all(own_finished, question, bank)
    found = read(own_finished, "optim.lr_g")
    change = found.change()
    assert change is not None
    assert len(found.pairs) == 2
    assert change.verdict is Verdict.ALIKE


@pytest.mark.parametrize(
    ("text", "key", "values"),
    [
        ("blur", KEY, (0, [0.1, 1.2])),
        (KEY, KEY, (0, [0.1, 1.2])),
        ("rotation", "augment.rotation_degrees", (0, 10)),
        ("rotation_degrees=0,5", "augment.rotation_degrees", (0, 5)),
        ("blur_sigma=0,[0.2,0.3]", KEY, (0, [0.2, 0.3])),
        ("lr_g=1e-4,1e-3", "optim.lr_g", (1e-4, 1e-3)),
    ],
)
def test_questions_are_read(finished: Any, text: str, key: str, values: tuple[Any, Any]) -> None:
    question = Question.parse(finished.store, "tiny", text, 12, None)
    assert (question.key, question.values) == (key, values)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("hue", "'hue' is not searched in 'tiny'"),
        ("rotaton", "blur_sigma; did you mean 'rotation_degrees'?"),
        ("n", "'n' is not searched in 'tiny'"),
        ("", "'' is not searched in 'tiny'"),
        ("nz", "nz has a range; name the two values to compare, as in nz=4,16"),
        ("nz=4", "a question compares two values, but nz has 1 here; name two, as in nz=A,B"),
        ("nz=4,8,16", "a question compares two values, but nz has 3 here"),
        ("nz=4,4", "nz=4,4 names one value twice"),
        ("blur_sigma=0,[0,0]", "names one value twice"),
    ],
)
def test_what_is_no_question_is_refused_in_a_sentence(finished: Any, text: str, told: str) -> None:
    with pytest.raises(UsageError) as refused:
        Question.parse(finished.store, "tiny", text, 12, None)
    assert told in str(refused.value)


def test_what_cannot_be_asked_is_refused_in_a_sentence(
    own_finished: Store, bank: PhotoBank, tiny_study: Maker, store: Store, watch: Any
) -> None:
    with pytest.raises(UnknownStudyError, match="there is no study 'nix'"):
        Question.parse(own_finished, "nix", "blur", 12, None)
    with pytest.raises(ConfigError, match="blur_sigma"):
        Question.parse(own_finished, "tiny", "blur_sigma=0,wide", 12, None)
    config = next_pairs(own_finished, BLUR)
    assert config is not None
    run_study(config, own_finished, bank=bank)
    with pytest.raises(UsageError, match=r"was asked about 0 and \[0\.1, 1\.2\] before; ask that"):
        next_pairs(own_finished, replace(BLUR, values=(0, [0.1, 0.5])))
    with pytest.raises(UsageError, match="--epochs 5: this was begun with trainings of 2 epochs"):
        next_pairs(own_finished, replace(BLUR, epochs=5))
    with pytest.raises(UsageError, match="--pairs 5: this was begun to end after 3 pairs"):
        next_pairs(own_finished, replace(BLUR, pairs=5))
    assert next_pairs(own_finished, replace(BLUR, pairs=None)) == next_pairs(own_finished, BLUR)
    assert read(own_finished).most == 3
    lost = tiny_study(study__trials=1, baselines=[], base__train__epochs=4)
    stop = watch(stop_after=(0, 1))
    run_study(lost, store, bank=bank, observer=stop)
    with pytest.raises(StudyError, match="'tiny' has no complete trial yet; let it run longer"):
        next_pairs(store, BLUR)


def test_a_question_about_another_study_of_that_name_is_refused(
    own_finished: Store, finished: Any, bank: PhotoBank, watch: Any
) -> None:
    config = next_pairs(own_finished, BLUR, at_once=3)  # of a trial of the sampler, too
    assert config is not None
    run_study(config, own_finished, bank=bank, observer=watch(stop_after=(0, 1)))
    assert Asked.read(load_optuna_study(own_finished, "tiny"), KEY) is not None
    assert delete_study(own_finished, "tiny", lambda question: True)
    run_study(override(finished.config, {"study.seed": 6}), own_finished, bank=bank)
    with pytest.raises(UsageError, match=r"'tiny\.ask\.blur_sigma' repeats trials of an earlier"):
        next_pairs(own_finished, BLUR)
    assert Asked.read(load_optuna_study(own_finished, "tiny"), KEY) is None


def test_collapsed_trials_are_no_good_region() -> None:
    early = TrialResult(0, TrialState.PRUNED, [9.0], score=9.0, epoch=40)
    assert not early.has_collapsed
    assert replace(early, reason="collapsed: the images are all alike").has_collapsed
    assert not replace(early, reason="hopeless: behind other trials").has_collapsed
    assert not replace(early, reason="waits", rung=1).has_collapsed
    assert not replace(early, state=TrialState.COMPLETE, reason="x").has_collapsed


@pytest.mark.slow
def test_the_command_prints_pairs_and_an_answer(own_finished: Store, shell: Shell) -> None:
    where = ["--store", own_finished.root]
    asked = ["ask", "tiny", "blur", "--pairs", "2", *where]
    first = shell(*asked).stdout
    assert "tiny.ask.blur_sigma: 2 epochs each of blur_sigma 0, trial-" in first
    assert "blur_sigma [0.1, 1.2] instead of 0" in first
    again = shell(*asked).stdout
    assert again in first
    assert "not over" not in again
    assert "is not searched" in shell("ask", "tiny", "hue", *where, code=2).stderr
