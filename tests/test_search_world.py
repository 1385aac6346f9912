"""Worlds made of learning curves: what of them is a config's, what is chance."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from benchmarks.search import efficiency
from benchmarks.search.curves import CONFIG, config_of
from benchmarks.search.world import (
    BEYOND_WORST,
    SEED_NOISE,
    Model,
    World,
    check_explains,
    encoded,
    explained_of_worlds,
)
from study.config.study_config import load_study_config

STUDY = load_study_config(str(CONFIG))
EPOCHS = tuple(range(19, 172, 19))


def known(params: dict[str, Any]) -> np.ndarray:
    """A score that depends on the learning rates alone and falls in the same way everywhere."""
    off = math.log(params["lr_g"] / 2e-4) ** 2 + math.log(params["lr_d"] / 2e-4) ** 2
    return np.array([math.log(100.0) + off / 4 + 10 / epoch for epoch in EPOCHS])


def model(spread: float, explained: float = 1.0) -> Model:
    """One that is wrong by `spread` (a standard deviation), by the same at all epochs."""
    errors = np.random.default_rng(0).normal(0.0, spread, (200, 1)) * np.ones(len(EPOCHS))
    return Model(STUDY, EPOCHS, known, errors, explained)


def some(count: int) -> list[dict[str, Any]]:
    """Random configs."""
    return [config_of(STUDY, number)[0] for number in range(count)]


def test_a_model_that_explains_nothing_is_refused() -> None:
    check_explains(model(0.1))
    with pytest.raises(SystemExit, match="a model of 200 configs explains -2% of the final scores"):
        check_explains(model(0.1, explained=-0.02))


def test_two_trainings_of_a_config_differ_by_what_seeds_do() -> None:
    world, rng = World(model(0.3), 0), random.Random(0)
    logs = np.log([[world.curve(0, it, rng).final for _ in range(200)] for it in some(10)])
    assert np.sqrt(logs.var(axis=1).mean()) == pytest.approx(SEED_NOISE, rel=0.1)
    assert logs.mean(axis=1) == pytest.approx([world.expected(it)[-1] for it in some(10)], abs=0.03)


def test_over_all_worlds_a_config_is_as_uncertain_as_the_model_s_errors() -> None:
    rng, configs = random.Random(0), some(3)
    worlds = [World(model(0.3), seed) for seed in range(400)]
    missed = np.array(
        [
            [np.log(world.curve(0, it, rng).final) - known(it)[-1] for it in configs]
            for world in worlds
        ]
    )
    assert missed.std(axis=0) == pytest.approx([0.3] * 3, rel=0.12)
    assert missed.mean(axis=0) == pytest.approx([0.0] * 3, abs=0.05)


def test_close_configs_are_alike_and_far_ones_are_not() -> None:
    """The correlation is that of Gaussian kernels: exp(−d²/(2·1.5²))."""
    first, other = some(2)
    close = {**first, "lr_g": first["lr_g"] * 1.05}
    worlds = [World(model(0.3), seed) for seed in range(400)]

    def missed(params: dict[str, Any]) -> list[float]:
        return [world.expected(params)[-1] - known(params)[-1] for world in worlds]

    for params, least, most in ((close, 0.99, 1.0), (other, 0.2, 0.75)):
        away = np.subtract(encoded(STUDY, first), encoded(STUDY, params))
        expected = math.exp(-(away @ away) / (2 * 1.5**2))
        assert least < expected <= most
        assert np.corrcoef(missed(first), missed(params))[0, 1] == pytest.approx(expected, abs=0.1)


def test_a_world_is_that_of_its_seed() -> None:
    config = some(1)[0]
    again = [World(model(0.3), seed).expected(config) for seed in (1, 1, 2)]
    assert (again[0] == again[1]).all()
    assert (again[0] != again[2]).all()
    # A model that is wrong by no more than a seed leaves nothing to learn but itself.
    alone = World(model(SEED_NOISE / 2), 1)
    assert alone.expected(config) == pytest.approx(known(config))


def test_a_config_has_its_place_in_each_range() -> None:
    places = np.array([encoded(STUDY, params) for params in some(100)])
    assert places.min(axis=0) == pytest.approx(0, abs=0.1)
    assert places.max(axis=0) == pytest.approx(1, abs=0.1)
    assert places.min() >= 0
    assert places.max() <= 1
    lr_g = STUDY.space["optim.lr_g"]
    assert lr_g.type == "float"
    middle = {**some(1)[0], "lr_g": math.sqrt(lr_g.low * lr_g.high)}
    assert encoded(STUDY, middle)[list(STUDY.space).index("optim.lr_g")] == pytest.approx(0.5)


@pytest.fixture
def _known_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The curves of 40 configs of the known world, of which one has collapsed."""
    rows = []
    for number in range(40):
        for epoch, log in zip(EPOCHS, known(config_of(STUDY, number)[0]), strict=True):
            if number != 7 or epoch < 57:
                score = str(math.exp(log))
                row = {"config": str(number), "epoch": str(epoch), "ema": score, "raw": score}
                rows.append(row)
    monkeypatch.setattr(efficiency, "read_table", lambda path: rows)


@pytest.mark.usefixtures("_known_table")
def test_the_model_knows_what_its_table_shows() -> None:
    fitted = Model.fitted(STUDY)
    assert fitted.epochs == EPOCHS
    assert fitted.errors.shape == (40, len(EPOCHS))
    assert 0.4 < fitted.explained < 1.0  # the collapsed one is a surprise
    worst = max(known(config_of(STUDY, number)[0])[-1] for number in range(40))
    collapsed = fitted.predict(config_of(STUDY, 7)[0])[-1]
    assert collapsed > known(config_of(STUDY, 7)[0])[-1]
    assert collapsed < worst + math.log(BEYOND_WORST) + 1e-9
    curve = World(fitted, 0).curve(3, config_of(STUDY, 3)[0], random.Random(0))
    assert list(curve.points) == list(EPOCHS)


def test_worlds_are_as_hard_to_learn_as_the_real_one() -> None:
    """On the table of this repository."""
    fitted = Model.fitted(STUDY)
    assert explained_of_worlds(fitted, 8) == pytest.approx(fitted.explained, abs=0.12)
