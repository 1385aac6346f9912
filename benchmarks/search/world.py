"""How much is there to learn in worlds made of learning curves, and in the real one?

    python -m benchmarks.search.world [--worlds 20]

A world has a learning curve for each config, also for those that nobody has trained. It is made of
three parts:

- a model (gradient boosting of small trees), fitted to the curves of cats_curves.csv (see
  curves.py), and shrunk as far as it exaggerates for configs that it did not see;
- a random smooth function of the config (random Fourier features, Rahimi and Recht 2007) in place
  of what the model misses, which is more than another seed changes. It is the same for every
  training in that world, so a sampler can learn it;
- chance, which is another one for each training, as large as between seeds.

The first two say in which order configs come. Their scores are those of the table in that order
(without the part of their variance that is chance), so a world has no better config than the table,
and its few bad ones are as bad.

How smooth what the model misses is, the curves can hardly say. The command says how much the same
model explains of worlds of each smoothness, if it is fitted to as many random configs as the table
has. Where that is as much as of the real curves, the worlds are as hard to learn; but the figure of
the real curves has a wide interval, which is printed (bootstrap over the configs).
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import optuna
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.multioutput import MultiOutputRegressor

from benchmarks.search.curves import CONFIG, TABLE, config_of
from benchmarks.search.efficiency import Curve, read_curves
from study.config.study_config import StudyConfig, load_study_config

BOOSTING: dict[str, Any] = {
    "n_estimators": 100,
    "max_depth": 2,
    "subsample": 0.7,
    "random_state": 0,
}
FOLDS = 10
LEAST_EXPLAINED = 0.1
BEYOND_WORST = 1.5
"""What a collapsed training counts as, times the worst final score."""
SEED_NOISE = 0.09
"""Standard deviation of ln(score) between seeds: of six configs of the real cats at the end of the
first rung (docs/evidence.md). The curves have no second seeds."""
SMOOTH_OVER = 1.0
"""Distance over which the random function changes; see `places_of`."""
TRIED = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
WAVES = 200
REFERENCES = 300
BEYOND_TABLE = 10_000
"""The first number of a random config that is not in the table."""


def main() -> None:
    """Fit, make worlds and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=20, help="of each smoothness")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    model = Model.fitted(load_study_config(str(CONFIG)))
    low, high = model.explained_interval()
    print(
        f"explained of the final scores of {len(model.errors)} configs: {model.explained:.0%} "
        f"(95 %: {low:.0%} to {high:.0%})"
    )
    for distance in TRIED:
        shares = explained_of_worlds(model, arguments.worlds, distance)
        low, high = np.percentile(shares, [2.5, 97.5])
        print(
            f"explained of worlds that change over {distance}: {np.mean(shares):.0%} "
            f"(95 %: {low:.0%} to {high:.0%})"
        )


class Model(NamedTuple):
    """What curve a config is expected to have, and by how much that is wrong."""

    config: StudyConfig
    epochs: tuple[int, ...]
    regressor: Any
    """Places of configs → ln(score) at each of the epochs; has `predict`."""
    shrinks: tuple[np.ndarray, np.ndarray]
    """Slope and intercept at each epoch: what is true on average where it predicts something."""
    logs: np.ndarray
    """(configs, epochs): ln(score) of the table."""
    errors: np.ndarray
    """(configs, epochs): ln(score) that the model misses where it did not see the config."""
    references: np.ndarray
    """(configs, dimensions): random configs, whose order says which score of the table one has."""

    @classmethod
    def fitted(cls, config: StudyConfig) -> Model:
        """Fit the model to the table."""
        curves = {curve.config: curve.points for curve in read_curves(TABLE, baselines=True)}
        epochs = tuple(sorted({epoch for points in curves.values() for epoch in points}))
        whole = [points[epochs[-1]] for points in curves.values() if epochs[-1] in points]
        worst = BEYOND_WORST * max(whole)
        inputs = places_of(config, [config_of(config, number)[0] for number in curves])
        scores = [[points.get(epoch, worst) for epoch in epochs] for points in curves.values()]
        logs = np.log(np.array(scores))
        model = MultiOutputRegressor(GradientBoostingRegressor(**BOOSTING))
        unseen = cross_val_predict(model, inputs, logs, cv=_folds())
        shrinks = _shrinks(unseen, logs)
        errors = logs - (shrinks[0] * unseen + shrinks[1])
        references = places_of(config, random_params(config, 0, REFERENCES))
        return cls(config, epochs, model.fit(inputs, logs), shrinks, logs, errors, references)

    def predict(self, places: np.ndarray) -> np.ndarray:
        """(configs, epochs): ln(score) that is expected of configs at these places."""
        slope, intercept = self.shrinks
        return np.asarray(slope * self.regressor.predict(places) + intercept)

    @property
    def explained(self) -> float:
        """R² of ln(final score), out of the model's sample."""
        return _share(self.errors[:, -1], self.logs[:, -1])

    def explained_interval(self, draws: int = 2000) -> tuple[float, float]:
        """95 % for `explained`, over which configs the table happens to have."""
        rng, count = np.random.default_rng(0), len(self.errors)
        picked = rng.integers(count, size=(draws, count))
        shares = [_share(self.errors[it, -1], self.logs[it, -1]) for it in picked]
        low, high = np.percentile(shares, [2.5, 97.5])
        return float(low), float(high)


class World:
    """A truth that is about as hard to learn as the real one, and has its scores."""

    def __init__(
        self,
        model: Model,
        seed: int,
        smooth_over: float = SMOOTH_OVER,
        seed_noise: float = SEED_NOISE,
    ) -> None:
        self.model, self.config = model, model.config
        rng = np.random.default_rng(seed)
        self._frequencies = rng.normal(size=(len(model.config.space), WAVES)) / smooth_over
        self._phases = rng.uniform(0, 2 * np.pi, WAVES)
        signs = rng.choice([-1.0, 1.0], (WAVES, 1))
        self._heights = signs * model.errors[rng.integers(len(model.errors), size=WAVES)]
        self._noise = _noise(model.errors, seed_noise)
        of_table = model.logs.var(axis=0)
        self._lasting = np.sqrt(np.clip(1 - seed_noise**2 / of_table, 0.0, 1.0))
        """The share of the table's standard deviations that is not chance."""
        waves = self._waves(model.references)
        self._middle = waves.mean(axis=0)
        missed = model.errors[:, -1].var() - seed_noise**2
        variance = float(waves[:, -1].var())
        self._scale = math.sqrt(max(missed, 0.0) / variance) if variance else 0.0
        self._order = np.sort(self._latent(model.references), axis=0)
        middle = model.logs.mean(axis=0)
        shares = (np.arange(len(waves)) + 0.5) / len(waves)
        self._scores = np.quantile(middle + self._lasting * (model.logs - middle), shares, axis=0)

    def _waves(self, places: np.ndarray) -> np.ndarray:
        return np.asarray(np.cos(places @ self._frequencies + self._phases) @ self._heights)

    def _latent(self, places: np.ndarray) -> np.ndarray:
        """(configs, epochs): what says in which order configs come."""
        field = self._scale * (self._waves(places) - self._middle)
        return np.asarray(self.model.predict(places) + field)

    def expected(self, params: dict[str, Any]) -> np.ndarray:
        """ln(score) of a config at each epoch, without what a seed adds."""
        (latent,) = self._latent(places_of(self.config, [params]))
        columns = zip(latent, self._order.T, self._scores.T, strict=True)
        return np.array([np.interp(value, order, scores) for value, order, scores in columns])

    def curve(self, number: int, params: dict[str, Any], rng: random.Random) -> Curve:
        """One training of a config; `number` is the trial's."""
        chance = self._noise @ [rng.gauss(0.0, 1.0) for _ in self.model.epochs]
        scores = np.exp(self.expected(params) + chance).tolist()
        epochs = self.model.epochs
        return Curve(number, dict(zip(epochs, scores, strict=True)), epochs[-1])


def check_explains(model: Model) -> None:
    """Refuse a model that knows too little of configs that it did not see."""
    if model.explained < LEAST_EXPLAINED:
        raise SystemExit(
            f"a model of {len(model.errors)} configs explains {model.explained:.0%} of the final "
            f"scores' variance of configs that it did not see, less than {LEAST_EXPLAINED:.0%}: "
            "samplers cannot be compared on it; python -m benchmarks.search.curves adds configs"
        )


def explained_of_worlds(model: Model, worlds: int, smooth_over: float = SMOOTH_OVER) -> list[float]:
    """What such a model explains of worlds made from it, from as many random configs as it has."""
    shares, count = [], len(model.errors)
    for seed in range(worlds):
        world, rng = World(model, seed, smooth_over), random.Random(seed)
        params = random_params(model.config, REFERENCES + count * seed, count)
        logs = np.log([world.curve(0, it, rng).final for it in params])
        inputs = places_of(model.config, params)
        unseen = cross_val_predict(
            GradientBoostingRegressor(**BOOSTING), inputs, logs, cv=_folds()
        )[:, None]
        slope, intercept = _shrinks(unseen, logs[:, None])
        shares.append(_share(logs - (slope * unseen + intercept)[:, 0], logs))
    return shares


def random_params(config: StudyConfig, first: int, count: int) -> list[dict[str, Any]]:
    """Random configs that are not in the table."""
    return [config_of(config, BEYOND_TABLE + first + it)[0] for it in range(count)]


def places_of(config: StudyConfig, params: Sequence[dict[str, Any]]) -> np.ndarray:
    """(configs, dimensions): where configs lie in the space.

    Two random configs are equally far apart in each dimension, whose values have the variance 1/4:
    a switch is 0 or 1, three values are √1.5 long in all, and a range without steps is √3 long.
    """
    return np.array([[*_places(config, it)] for it in params])


def _places(config: StudyConfig, params: dict[str, Any]) -> list[float]:
    places = []
    for key, dimension in config.space.items():
        value = params[config.short_name(key)]
        if dimension.type == "categorical":
            choices = list(dimension.stored)
            place, count = choices.index(value) / (len(choices) - 1), len(choices)
        else:
            low, high, step = dimension.low, dimension.high, dimension.step
            count = math.inf if step is None else round((high - low) / step) + 1
            if dimension.log:
                value, low, high = map(math.log, (value, low, high))
            place = (value - low) / (high - low)
        places.append(place * math.sqrt(3 * (1 - 2 / (count + 1))))
    return places


def _noise(errors: np.ndarray, spread: float) -> np.ndarray:
    """What turns independent normal numbers into those of epochs, which go together as errors do.

    Each has the standard deviation `spread`.
    """
    if not errors.std(axis=0).all():
        return spread * np.ones((errors.shape[1], errors.shape[1])) / math.sqrt(errors.shape[1])
    values, vectors = np.linalg.eigh(np.corrcoef(errors.T))
    return np.asarray(spread * vectors * np.sqrt(np.clip(values, 0.0, None)))


def _shrinks(unseen: np.ndarray, logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope, from 0 to 1, and intercept of the truth over predictions, at each epoch."""
    away = unseen - unseen.mean(axis=0)
    variance = (away**2).mean(axis=0)
    slope = np.clip((away * logs).mean(axis=0) / np.where(variance, variance, 1.0), 0.0, 1.0)
    return slope, logs.mean(axis=0) - slope * unseen.mean(axis=0)


def _folds() -> KFold:
    return KFold(FOLDS, shuffle=True, random_state=0)


def _share(missed: np.ndarray, logs: np.ndarray) -> float:
    return float(1 - (missed**2).mean() / logs.var())


if __name__ == "__main__":
    main()
