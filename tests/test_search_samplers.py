"""The simulation of samplers, in worlds whose truth is known."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from benchmarks.search import efficiency, samplers
from benchmarks.search.curves import CONFIG, config_of
from benchmarks.search.efficiency import Found
from benchmarks.search.samplers import RUNGS, World, propose, search, simulate
from study.config.space import suggest_params
from study.config.study_config import load_study_config
from study.search.rungs import Rungs
from study.search.samplers import SeededSampler

STUDY = load_study_config(str(CONFIG))
EPOCHS = tuple(range(19, 172, 19))
FULL = Rungs((171,), 1.0, 12)


def world(noise: float = 0.0) -> World:
    """A score that depends on the learning rates alone and falls in the same way everywhere."""

    def predict(params: dict[str, Any]) -> np.ndarray:
        off = math.log(params["lr_g"] / 2e-4) ** 2 + math.log(params["lr_d"] / 2e-4) ** 2
        return np.array([math.log(100.0) + off / 4 + 10 / epoch for epoch in EPOCHS])

    errors = np.random.default_rng(0).normal(0.0, noise, (30, len(EPOCHS)))
    return World(STUDY, EPOCHS, predict, errors, 1.0)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def test_a_model_that_explains_nothing_is_refused() -> None:
    samplers.check_explains(world())
    with pytest.raises(SystemExit, match="a model of 30 configs explains -2% of the final scores"):
        samplers.check_explains(world()._replace(explained=-0.02))


def test_full_trials_spend_all_their_epochs() -> None:
    found = list(search(world(), "random", FULL, 0))
    assert [it.epochs for it in found] == [171 * count for count in range(1, 13)]
    assert found == list(search(world(), "random", FULL, 0))
    assert found != list(search(world(), "random", FULL, 1))


def test_rungs_let_a_third_go_on() -> None:
    *_, last = search(world(), "random", Rungs(RUNGS, 1 / 3, 12), 0)
    *_, straight = search(world(), "random", FULL, 0)
    # Without noise the best one goes on; early on others may have looked best.
    assert last.best == straight.best
    assert 12 * 19 + 4 * 19 + 133 <= last.epochs <= 12 * 19 + 8 * 19 + 5 * 133


def test_a_sampler_sees_waiting_trials_as_pruned_ones() -> None:
    truth, rng = world(), random.Random(0)
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
    count, truth = 25, world()
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
    results = simulate(world(0.01), ["tpe"], 30, 8)
    assert list(results) == [
        "random, all trials in full",
        "tpe, all trials in full",
        "tpe, rungs 19, 38, 171, 1/2",
    ]
    assert results["random, all trials in full"]["regret"] == 0.0
    assert results["tpe, all trials in full"]["regret"] < 0.0
    _, middle, _ = results["tpe, rungs 19, 38, 171, 1/2"]["compute"]
    assert 0.02 < middle < 0.5


def test_the_model_knows_what_its_table_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table made from a known world, and a collapsed config."""
    rows, truth = [], world()
    for number in range(40):
        logs = truth.predict(config_of(STUDY, number)[0])
        for epoch, log in zip(EPOCHS, logs, strict=True):
            if number != 7 or epoch < 57:
                score = str(math.exp(log))
                row = {"config": str(number), "epoch": str(epoch), "ema": score, "raw": score}
                rows.append(row)
    monkeypatch.setattr(efficiency, "read_table", lambda path: rows)
    fitted = World.fitted(STUDY)
    assert fitted.epochs == EPOCHS
    assert fitted.errors.shape == (40, len(EPOCHS))
    assert 0.4 < fitted.explained < 1.0  # the collapsed one is a surprise
    worst = max(truth.predict(config_of(STUDY, number)[0])[-1] for number in range(40))
    collapsed = fitted.predict(config_of(STUDY, 7)[0])[-1]
    assert collapsed > truth.predict(config_of(STUDY, 7)[0])[-1]
    assert collapsed < worst + math.log(samplers.BEYOND_WORST) + 1e-9
    curve = fitted.curve(3, config_of(STUDY, 3)[0], random.Random(0))
    assert list(curve.points) == list(EPOCHS)
    assert Found(0, curve.final).best == curve.points[171]
