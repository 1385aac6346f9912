"""The simulation of samplers, in worlds whose truth is known."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import optuna
import pytest

from benchmarks.search import samplers
from benchmarks.search.curves import CONFIG
from benchmarks.search.samplers import RUNGS, propose, search, simulate
from benchmarks.search.world import Model, World
from study.config.space import suggest_params
from study.config.study_config import load_study_config
from study.search.rungs import Rungs
from study.search.samplers import SeededSampler

STUDY = load_study_config(str(CONFIG))
EPOCHS = tuple(range(19, 172, 19))
FULL = Rungs((171,), 1.0, 12)


def model(noise: float = 0.0) -> Model:
    """A score that depends on the learning rates alone and falls in the same way everywhere."""

    def predict(params: dict[str, Any]) -> np.ndarray:
        off = math.log(params["lr_g"] / 2e-4) ** 2 + math.log(params["lr_d"] / 2e-4) ** 2
        return np.array([math.log(100.0) + off / 4 + 10 / epoch for epoch in EPOCHS])

    errors = np.random.default_rng(0).normal(0.0, noise, (30, len(EPOCHS)))
    return Model(STUDY, EPOCHS, predict, errors, 1.0)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def test_full_trials_spend_all_their_epochs() -> None:
    found = list(search(model(), "random", FULL, 0))
    assert [it.epochs for it in found] == [171 * count for count in range(1, 13)]
    assert found == list(search(model(), "random", FULL, 0))
    assert found != list(search(model(), "random", FULL, 1))


def test_rungs_let_a_third_go_on() -> None:
    *_, last = search(model(), "random", Rungs(RUNGS, 1 / 3, 12), 0)
    *_, straight = search(model(), "random", FULL, 0)
    # Without noise the best one goes on; early on others may have looked best.
    assert last.best == straight.best
    assert 12 * 19 + 4 * 19 + 133 <= last.epochs <= 12 * 19 + 8 * 19 + 5 * 133


def test_a_sampler_sees_waiting_trials_as_pruned_ones() -> None:
    truth, rng = World(model(), 0), random.Random(0)
    proposing = SeededSampler(STUDY.sampler.model_copy(update={"name": "random"}), 0)
    first = propose(truth, proposing, [], {}, rng)
    waiting = first._replace(epochs=57)
    seen = samplers._as_optuna_sees(waiting)
    assert (seen.state.name, seen.params) == ("PRUNED", first.params)
    assert list(seen.intermediate_values) == [19, 38, 57]
    whole = samplers._as_optuna_sees(first._replace(epochs=171))
    assert (whole.state.name, whole.value) == ("COMPLETE", first.curve.final)
    second = propose(truth, proposing, [waiting], {}, rng)
    assert second.standing.number == 1
    assert second.params != first.params


@pytest.mark.parametrize("name", ["qmc", "cmaes", "tpe"])
def test_a_sampler_proposes_what_it_proposes_in_a_real_study(name: str) -> None:
    """Some keep notes in the study and in its trials."""
    count, truth = 25, World(model(), 0)
    settings = STUDY.sampler.model_copy(update={"name": name})
    trials: list[samplers.Trial] = []
    notes: dict[str, Any] = {}
    for _ in range(count):
        trial = propose(truth, SeededSampler(settings, 5), trials, notes, random.Random(0))
        trials.append(trial._replace(epochs=171))
    study = optuna.create_study(sampler=SeededSampler(settings, 5))
    for trial in trials:
        asked = study.ask()
        assert suggest_params(asked, STUDY) == trial.params
        for epoch, score in trial.curve.points.items():
            asked.report(score, epoch)
        study.tell(asked, trial.curve.final)
    assert len({str(trial.params) for trial in trials}) == count


def test_a_sampler_that_learns_needs_less_where_there_is_something_to_learn() -> None:
    results = simulate(model(0.01), ["tpe"], 30, 8)
    assert list(results) == [
        "random, all trials in full",
        "tpe, all trials in full",
        "tpe, rungs 19, 38, 171, 1/2",
    ]
    assert results["random, all trials in full"]["regret"] == 0.0
    assert results["tpe, all trials in full"]["regret"] < 0.0
    _, middle, _ = results["tpe, rungs 19, 38, 171, 1/2"]["compute"]
    assert 0.02 < middle < 0.5
