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
    Model,
    World,
    check_explains,
    explained_of_worlds,
    places_of,
    random_params,
)
from study.config.study_config import load_study_config

STUDY = load_study_config(str(CONFIG))
EPOCHS = tuple(range(19, 172, 19))
RATES = [list(STUDY.space).index(f"optim.{key}") for key in ("lr_g", "lr_d")]
TOGETHER = 0.6
"""Correlation of the errors of two epochs."""


class Known:
    """A score that depends on the learning rates alone and falls in the same way everywhere."""

    def predict(self, places: np.ndarray) -> np.ndarray:
        off = ((places[:, RATES] - 0.8) ** 2).sum(axis=1, keepdims=True)
        return off + math.log(100.0) + 10 / np.array([EPOCHS])


def model(missed: float, spread: float = 0.5) -> Model:
    """One that is wrong by `missed`; the table's scores differ by `spread` (deviations)."""
    rng, epochs = np.random.default_rng(0), len(EPOCHS)
    shared, own = rng.normal(size=(400, 1)), rng.normal(size=(400, epochs))
    errors = missed * (math.sqrt(TOGETHER) * shared + math.sqrt(1 - TOGETHER) * own)
    logs = 7.0 + spread * rng.exponential(size=(60, epochs))
    logs = np.sort(logs, axis=0)
    references = places_of(STUDY, random_params(STUDY, 0, 300))
    as_it_is = (np.ones(epochs), np.zeros(epochs))
    return Model(STUDY, EPOCHS, Known(), as_it_is, logs, errors, references)


def some(count: int) -> list[dict[str, Any]]:
    """Random configs."""
    return random_params(STUDY, 1000, count)


def test_two_trainings_of_a_config_differ_by_what_seeds_do() -> None:
    world, rng = World(model(0.3), 0, seed_noise=0.12), random.Random(0)
    curves = [[world.curve(0, it, rng) for _ in range(300)] for it in some(5)]
    logs = np.log([[list(curve.points.values()) for curve in it] for it in curves])
    assert np.sqrt(logs.var(axis=1).mean(axis=0)) == pytest.approx([0.12] * len(EPOCHS), rel=0.06)
    expected = np.array([world.expected(it) for it in some(5)])
    assert logs.mean(axis=1) == pytest.approx(expected, abs=0.03)
    # What a seed does to one epoch goes with what it does to another, as errors do.
    away = (logs - logs.mean(axis=1, keepdims=True)).reshape(-1, len(EPOCHS))
    pairs = np.corrcoef(away.T)[np.triu_indices(len(EPOCHS), 1)]
    assert pairs == pytest.approx([TOGETHER] * len(pairs), abs=0.12)


def test_a_world_has_the_scores_of_the_table() -> None:
    """Without the part of their variance that is chance."""
    made = model(0.3)
    world = World(made, 0, seed_noise=0.2)
    finals = np.array([world.expected(it)[-1] for it in some(400)])
    table = made.logs[:, -1]
    lasting = math.sqrt(1 - 0.2**2 / table.var())
    wanted = table.mean() + lasting * (table - table.mean())
    assert finals.min() >= wanted.min() - 1e-9
    assert finals.max() <= wanted.max() + 1e-9
    for share in (0.1, 0.5, 0.9):
        assert np.quantile(finals, share) == pytest.approx(np.quantile(wanted, share), abs=0.1)
    assert finals.std() == pytest.approx(wanted.std(), rel=0.15)


def test_what_the_model_misses_is_as_large_as_its_errors_but_for_chance() -> None:
    for seed in range(3):
        world = World(model(0.3), seed, smooth_over=0.5, seed_noise=0.18)
        places = places_of(STUDY, some(500))
        field = world._latent(places) - Known().predict(places)
        assert field[:, -1].std() == pytest.approx(math.sqrt(0.3**2 - 0.18**2), rel=0.12)
        assert field[:, -1].mean() == pytest.approx(0.0, abs=0.06)
    # A model that is wrong by no more than a seed leaves nothing to learn but itself.
    alone = World(model(0.1), 0, seed_noise=0.2)
    assert alone._latent(places) == pytest.approx(Known().predict(places))


def test_close_configs_are_alike_and_far_ones_are_not() -> None:
    """The correlation over worlds is that of a Gaussian kernel: exp(−d²/2)."""
    first, other = some(2)
    close = {**first, "lr_g": first["lr_g"] * 1.05}
    made = model(0.3)
    waves = np.array(
        [
            World(made, seed, smooth_over=1.5)._waves(places_of(STUDY, [first, close, other]))[:, 0]
            for seed in range(400)
        ]
    )
    found = np.corrcoef(waves.T)[0]
    places = places_of(STUDY, [first, close, other])
    expected = np.exp(-((places - places[0]) ** 2).sum(axis=1) / (2 * 1.5**2))
    assert expected[1] > 0.99
    assert expected[2] < 0.6
    assert found == pytest.approx(expected, abs=0.1)


def test_a_world_is_that_of_its_seed() -> None:
    made, config = model(0.3), some(1)[0]
    again = [World(made, seed).expected(config) for seed in (1, 1, 2)]
    assert (again[0] == again[1]).all()
    assert (again[0] != again[2]).any()


def test_random_configs_are_equally_far_apart_in_each_dimension() -> None:
    places = places_of(STUDY, some(600))
    away = places[:300] - places[300:]
    assert (away**2).mean(axis=0) == pytest.approx([0.5] * places.shape[1], abs=0.12)
    lr_g = STUDY.space["optim.lr_g"]
    assert lr_g.type == "float"
    middle = {**some(1)[0], "lr_g": math.sqrt(lr_g.low * lr_g.high)}
    assert places_of(STUDY, [middle])[0, RATES[0]] == pytest.approx(math.sqrt(3) / 2)


@pytest.fixture
def _known_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The curves of 60 configs of the known world, of which one has collapsed."""
    rows = []
    for number in range(60):
        (logs,) = Known().predict(places_of(STUDY, [config_of(STUDY, number)[0]]))
        for epoch, log in zip(EPOCHS, logs, strict=True):
            if number != 7 or epoch < 57:
                score = str(math.exp(log))
                row = {"config": str(number), "epoch": str(epoch), "ema": score, "raw": score}
                rows.append(row)
    monkeypatch.setattr(efficiency, "read_table", lambda path: rows)


@pytest.mark.usefixtures("_known_table")
def test_the_model_knows_what_its_table_shows() -> None:
    fitted = Model.fitted(STUDY)
    assert fitted.epochs == EPOCHS
    assert fitted.errors.shape == (60, len(EPOCHS))
    assert 0.4 < fitted.explained < 1.0  # the collapsed one is a surprise
    low, high = fitted.explained_interval()
    assert low < fitted.explained < high
    assert fitted.errors.mean(axis=0) == pytest.approx([0.0] * len(EPOCHS), abs=1e-9)
    assert fitted.logs[7, -1] == pytest.approx(
        np.delete(fitted.logs[:, -1], 7).max() + math.log(BEYOND_WORST)
    )
    places = places_of(STUDY, some(100))
    found, known = fitted.predict(places)[:, -1], Known().predict(places)[:, -1]
    assert np.corrcoef(found, known)[0, 1] > 0.8
    curve = World(fitted, 0).curve(3, config_of(STUDY, 3)[0], random.Random(0))
    assert list(curve.points) == list(EPOCHS)


@pytest.mark.usefixtures("_known_table")
def test_a_model_that_explains_nothing_is_refused() -> None:
    fitted = Model.fitted(STUDY)
    check_explains(fitted)
    nothing = fitted._replace(errors=1.01 * (fitted.logs - fitted.logs.mean(axis=0)))
    with pytest.raises(SystemExit, match="a model of 60 configs explains -2% of the final scores"):
        check_explains(nothing)


def test_smooth_worlds_are_easier_to_learn() -> None:
    """On the table of this repository."""
    fitted = Model.fitted(STUDY)
    rough, smooth = (np.mean(explained_of_worlds(fitted, 6, it)) for it in (0.25, 4.0))
    assert rough < smooth
    assert smooth > fitted.explained
