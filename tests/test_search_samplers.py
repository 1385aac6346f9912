"""The simulation of samplers, in worlds whose truth is known."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import optuna
import pytest

from benchmarks.search import samplers
from benchmarks.search.curves import CONFIG
from benchmarks.search.samplers import RUNGS, propose, search, simulate
from benchmarks.search.world import Model, World, places_of, random_params
from study.config.space import suggest_params
from study.config.study_config import load_study_config
from study.search.rungs import Rungs
from study.search.samplers import SeededSampler

STUDY = load_study_config(str(CONFIG))
EPOCHS = tuple(range(19, 172, 19))
FULL = Rungs((171,), 1.0, 12)


class Known:
    """A score that depends on the learning rates alone and falls in the same way everywhere."""

    def predict(self, places: np.ndarray) -> np.ndarray:
        rates = [list(STUDY.space).index(f"optim.{key}") for key in ("lr_g", "lr_d")]
        off = ((places[:, rates] - 0.8) ** 2).sum(axis=1, keepdims=True)
        return off + math.log(100.0) + 10 / np.array([EPOCHS])


def worlds(missed: float = 0.0, noise: float = 0.0) -> Callable[[int], World]:
    """Worlds whose truth is known but for what the model misses, by so much."""
    references = places_of(STUDY, random_params(STUDY, 0, 200))
    as_it_is = (np.ones(len(EPOCHS)), np.zeros(len(EPOCHS)))
    errors = np.random.default_rng(0).normal(0.0, missed, (30, 1)) * np.ones(len(EPOCHS))
    logs = Known().predict(references[:60])
    model = Model(STUDY, EPOCHS, Known(), as_it_is, logs, errors, references)
    return partial(World, model, seed_noise=noise)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def test_full_trials_spend_all_their_epochs() -> None:
    found = list(search(worlds(), "random", FULL, 0))
    assert [it.epochs for it in found] == [171 * count for count in range(1, 13)]
    assert found == list(search(worlds(), "random", FULL, 0))
    assert found != list(search(worlds(), "random", FULL, 1))


def test_rungs_let_a_third_go_on() -> None:
    *_, last = search(worlds(), "random", Rungs(RUNGS, 1 / 3, 12), 0)
    *_, straight = search(worlds(), "random", FULL, 0)
    # Without noise the best one goes on; early on others may have looked best.
    assert last.best == straight.best
    assert 12 * 19 + 4 * 19 + 133 <= last.epochs <= 12 * 19 + 8 * 19 + 5 * 133


def test_a_sampler_sees_waiting_trials_as_pruned_ones() -> None:
    truth, rng = worlds()(0), random.Random(0)
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
    count, truth = 25, worlds()(0)
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


def test_all_samplers_meet_the_same_worlds() -> None:
    """Those that learn begin with random trials, which are then the same ones."""
    made = worlds(0.3, 0.1)
    startup = STUDY.sampler.startup_trials
    full = Rungs((171,), 1.0, 24)
    in_full = {name: list(search(made, name, full, 3)) for name in ("random", "tpe", "cmaes")}
    beginnings = [it[:startup] for it in in_full.values()]
    assert beginnings == beginnings[:1] * 3
    assert in_full["tpe"] != in_full["random"]
    *_, rungs = search(made, "random", Rungs(RUNGS, 1 / 2, 24), 3)
    assert rungs.epochs < in_full["random"][-1].epochs


def test_what_counts_is_the_score_without_chance() -> None:
    """The best of many noisy scores is lower than what it stands for."""
    quiet = list(search(worlds(0.3), "random", FULL, 0))
    noisy = list(search(worlds(0.3, 0.2), "random", FULL, 0))
    finals = [worlds(0.3, 0.2)(0).model.logs[:, -1].min(), quiet[-1].best, noisy[-1].best]
    assert all(it.best >= math.exp(finals[0]) for it in [*quiet, *noisy])
    assert [it.best for it in quiet] == sorted((it.best for it in quiet), reverse=True)


def test_a_sampler_that_learns_needs_less_where_there_is_something_to_learn() -> None:
    results = simulate(worlds(), EPOCHS, ["tpe"], 40, 12)
    assert list(results) == [
        "random, all trials in full",
        "tpe, all trials in full",
        "tpe, rungs 19, 38, 171, 1/2",
    ]
    assert results["random, all trials in full"]["regret"] == 0.0
    assert results["tpe, all trials in full"]["regret"] < 0.0
    _, middle, _ = results["tpe, rungs 19, 38, 171, 1/2"]["compute"]
    assert 0.02 < middle < 0.5
