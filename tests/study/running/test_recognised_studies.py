"""Studies that also maximise the share of recognised images; real weights, training and databases.

The photos are grey noise, since images of a generator that has hardly trained look like them: both
get the same few classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import optuna
import pytest
import torch
from optuna.study import Study
from optuna.trial import TrialState

from dcgan.data.bank import PhotoBank, load_bank
from dcgan.errors import ConfigError
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import read_evals
from study.cli.show import print_study
from study.config.space import suggest
from study.config.study_config import StudyConfig
from study.errors import StudyMismatchError
from study.results.export import export_config
from study.results.leaderboard import rows_of
from study.running.study import run_study
from study.search.samplers import SeededSampler
from study.storage.optuna_db import open_storage
from study.storage.store import Store

Maker = Callable[..., StudyConfig]
DIRECTIONS = ["minimize", "minimize", "maximize"]
TRIALS = 3


@pytest.fixture(scope="module")
def shared(tiny_study: Maker) -> Maker:
    brief = {"train__epochs": 1, "eval__extractor": "imagenet", "eval__n_samples": 32}
    settings = {f"base__{key}": value for key, value in brief.items()}
    settings |= {"study__trials": TRIALS, "objective": {"mode": "pareto", "recognised": True}}
    return lambda **changes: tiny_study(**(settings | changes))


@pytest.fixture(scope="module")
def grey(bank: PhotoBank) -> PhotoBank:
    noise = torch.randn(bank.images.shape, generator=torch.Generator().manual_seed(0))
    return replace(bank, images=(128 + 4 * noise).byte())


@pytest.fixture(scope="module")
def begun(
    shared: Maker, grey: PhotoBank, new_store: Callable[[], Store]
) -> tuple[StudyConfig, Store, Study]:
    """A study that ran to its total. Only to be read."""
    config, store = shared(), new_store()
    return config, store, run_study(config, store, bank=grey).study


Begun = tuple[StudyConfig, Store, Study]


def test_the_share_of_the_last_evaluation_is_the_third_value(begun: Begun, mirror_of: Any) -> None:
    _, store, study = begun
    trials = study.get_trials()
    assert [item.name for item in study.directions] == ["MINIMIZE", "MINIMIZE", "MAXIMIZE"]
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * TRIALS
    assert max(trial.values[2] for trial in trials) > 0
    for trial, run in zip(trials, mirror_of(store).runs("trial"), strict=True):
        last = read_evals(RunFolder(store.study("tiny").trial(trial.number)).history)[-1]
        assert trial.values == [last.frechet, last.imbalance, last.metrics["recognised"]]
        names = ("distance", "imbalance", "recognised")
        assert [run.data.metrics[f"objective_{name}"] for name in names] == trial.values


def test_the_front_is_over_three_values(begun: Begun) -> None:
    study = begun[2]
    front = {trial.number for trial in study.best_trials}
    assert {row.number for row in rows_of(study) if row.front} == front
    # Sorted as the front is: where shares are equal the nearer trial is taken.
    best = min(study.best_trials, key=lambda trial: (-trial.values[2], trial.values[0]))
    source = export_config(study, rule="recognised").provenance
    assert source["trial"] == f"trial-00{best.number}"
    assert (source["picked_by"], source["recognised"]) == ("recognised", best.values[2])


def test_show_names_the_third_value(begun: Begun, capsys: pytest.CaptureFixture[str]) -> None:
    print_study(begun[1], "tiny")
    words = " ".join(capsys.readouterr().out.split())
    assert "no trial is better in all of distance, imbalance and recognised" in words


def test_the_sampler_learns_from_three_values(shared: Maker) -> None:
    """Warnings would be errors. More rotation is taken for more that is recognised."""
    config = shared(sampler={"name": "tpe", "startup_trials": 6})
    study = optuna.create_study(
        directions=DIRECTIONS, sampler=SeededSampler(config.sampler, config.study.seed)
    )
    for _ in range(60):
        trial = study.ask()
        suggest(trial, config)
        study.tell(trial, (1.0, 1.0, trial.params["rotation_degrees"] / 10))
    later = [trial.params["rotation_degrees"] for trial in study.get_trials()[6:]]
    assert sum(later) / 10 > 0.7 * len(later)


def test_a_relaunch_keeps_the_values(begun: Begun, shared: Maker, grey: PhotoBank) -> None:
    config, store, study = begun
    before = study.get_trials()
    both = shared(study__trials=9, objective={"mode": "pareto"})
    with pytest.raises(StudyMismatchError, match=r"objective\.recognised was true, now false"):
        run_study(both, store, bank=grey)
    assert run_study(config, store, bank=grey).finished == TRIALS
    assert study.get_trials() == before


def test_a_study_that_was_never_described_keeps_its_values(
    shared: Maker, store: Store, bank: PhotoBank
) -> None:
    optuna.create_study(study_name="tiny", storage=open_storage(store), directions=DIRECTIONS)
    with pytest.raises(StudyMismatchError, match=r"objective\.recognised was true, now false"):
        run_study(shared(objective={"mode": "pareto"}), store, bank=bank)
    with pytest.raises(ConfigError, match="needs a classifier"):
        run_study(shared(base__eval__extractor="random"), store, bank=bank)


def test_refused_before_a_study_is_created(shared: Maker, store: Store, bank: PhotoBank) -> None:
    with pytest.raises(ConfigError) as caught:
        run_study(shared(base__eval__extractor="random"), store, bank=bank)
    assert str(caught.value) == (
        "objective.recognised needs a classifier, which the extractor 'random' is not; choose one "
        "with --set eval.extractor=joint, or leave objective.recognised out"
    )
    # Four photos that are not all of one class: none is recognised by the three others.
    few = shared(base__train__batch_size=4, base__data__toy_count=4)
    with pytest.raises(ConfigError) as caught:
        run_study(few, store, bank=load_bank(few.base.data))
    assert str(caught.value) == (
        "objective.recognised cannot be used: recognised is not given: the network recognises only "
        "0% of the photos, and below 20% the share of images says nothing; leave it out"
    )
    assert optuna.get_all_study_names(open_storage(store)) == []
