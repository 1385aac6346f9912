"""How much is there to learn in worlds made of learning curves, and in the real one?

    python -m benchmarks.search.world [--worlds 20]

In such a world configs that nobody has trained have a curve. A model (gradient boosting of small
trees), fitted to the curves of cats_curves.csv (see curves.py), says what curve a config would
have. It misses the curves of configs that it did not see, by more than another seed changes a
curve: most of what it misses is the config's. So a world has two parts besides the model, both made
of the model's errors on unseen configs, those of all epochs together:

- a random smooth function of the config (random Fourier features, Rahimi and Recht 2007), which is
  the same for every training in that world, so that a sampler can learn it;
- chance, which is another one for each training, as large as measured between seeds.

Each seed makes another world. The command says how much the same model explains of worlds whose
random function is rougher or smoother, if it is fitted to as many random configs as the table has.
Where that is as much as of the real curves, the worlds are as hard to learn (`SMOOTH_OVER`).
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable
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
"""Standard deviation of ln(final score) between seeds: of the real cats (docs/evidence.md)."""
SMOOTH_OVER = 1.5
"""Distance over which the random function changes; the range of each dimension is 1."""
TRIED = (0.5, 1.0, 1.5, 2.0)
WAVES = 200


def main() -> None:
    """Fit, make worlds and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=20, help="of each smoothness")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    model = Model.fitted(load_study_config(str(CONFIG)))
    print(f"explained of the scores of {len(model.errors)} configs: {model.explained:.0%}")
    print(f"of what is missed, by chance: {model.chance:.0%}")
    for distance in TRIED:
        share = explained_of_worlds(model, arguments.worlds, distance)
        print(f"explained of worlds that change over {distance}: {share:.0%}")


class Model(NamedTuple):
    """What curve a config is expected to have, and by how much that is wrong."""

    config: StudyConfig
    epochs: tuple[int, ...]
    predict: Callable[[dict[str, Any]], np.ndarray]
    """Values of the searched keys, by short names → ln(score) at each of the epochs."""
    errors: np.ndarray
    """(configs, epochs): ln(score) that the model misses where it did not see the config."""
    explained: float
    """R² of ln(final score), out of the model's sample."""

    @classmethod
    def fitted(cls, config: StudyConfig) -> Model:
        """Fit the model to the table."""
        curves = {curve.config: curve.points for curve in read_curves(TABLE, baselines=True)}
        epochs = tuple(sorted({epoch for points in curves.values() for epoch in points}))
        whole = [points[epochs[-1]] for points in curves.values() if epochs[-1] in points]
        worst = BEYOND_WORST * max(whole)
        inputs = np.array([encoded(config, config_of(config, number)[0]) for number in curves])
        scores = np.array(
            [[points.get(epoch, worst) for epoch in epochs] for points in curves.values()]
        )
        model = MultiOutputRegressor(GradientBoostingRegressor(**BOOSTING))
        logs = np.log(scores)
        errors = logs - cross_val_predict(model, inputs, logs, cv=_folds())
        model.fit(inputs, logs)

        def predict(params: dict[str, Any]) -> np.ndarray:
            return np.asarray(model.predict(np.array([encoded(config, params)]))[0])

        return cls(config, epochs, predict, errors, _share(errors[:, -1], logs[:, -1]))

    @property
    def chance(self) -> float:
        """The share of the errors' variance that is another seed's, from 0 to 1."""
        variance = float((self.errors[:, -1] ** 2).mean())
        return min(1.0, SEED_NOISE**2 / variance) if variance else 1.0


class World:
    """One truth that the curves allow."""

    def __init__(self, model: Model, seed: int, smooth_over: float = SMOOTH_OVER) -> None:
        self.model, self.config = model, model.config
        rng = np.random.default_rng(seed)
        self._frequencies = rng.normal(size=(WAVES, len(model.config.space))) / smooth_over
        self._phases = rng.uniform(0, 2 * np.pi, WAVES)
        signs = rng.choice([-1.0, 1.0], (WAVES, 1))
        self._heights = signs * model.errors[rng.integers(len(model.errors), size=WAVES)]
        self._heights *= math.sqrt(2 / WAVES)  # the mean of a squared cosine is 1/2

    def expected(self, params: dict[str, Any]) -> np.ndarray:
        """ln(score) of a config at each epoch, without what a seed adds."""
        place = np.array(encoded(self.config, params))
        waves = np.cos(self._frequencies @ place + self._phases) @ self._heights
        return self.model.predict(params) + math.sqrt(1 - self.model.chance) * waves

    def curve(self, number: int, params: dict[str, Any], rng: random.Random) -> Curve:
        """One training of a config; `number` is the trial's."""
        seed = math.sqrt(self.model.chance) * rng.choice(list(self.model.errors))
        scores = np.exp(self.expected(params) + seed).tolist()
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


def explained_of_worlds(model: Model, worlds: int, smooth_over: float = SMOOTH_OVER) -> float:
    """What such a model explains of worlds made from it, from as many random configs as it has.

    Near `model.explained` the worlds are as hard to learn as the real one.
    """
    shares = []
    for seed in range(worlds):
        world, rng = World(model, seed, smooth_over), random.Random(seed)
        params = [config_of(model.config, 1000 * seed + it)[0] for it in range(len(model.errors))]
        inputs = np.array([encoded(model.config, it) for it in params])
        logs = np.log([world.curve(0, it, rng).final for it in params])
        model_again = GradientBoostingRegressor(**BOOSTING)
        missed = logs - cross_val_predict(model_again, inputs, logs, cv=_folds())
        shares.append(_share(missed, logs))
    return float(np.mean(shares))


def encoded(config: StudyConfig, params: dict[str, Any]) -> list[float]:
    """A config as numbers from 0 to 1: the place in its range or, of a choice, in the list."""
    places = []
    for key, dimension in config.space.items():
        value = params[config.short_name(key)]
        if dimension.type == "categorical":
            place, low, high = list(dimension.stored).index(value), 0.0, len(dimension.stored) - 1
        elif dimension.log:
            place, low, high = map(math.log, (value, dimension.low, dimension.high))
        else:
            place, low, high = value, dimension.low, dimension.high
        places.append((place - low) / (high - low))
    return places


def _folds() -> KFold:
    return KFold(FOLDS, shuffle=True, random_state=0)


def _share(missed: np.ndarray, logs: np.ndarray) -> float:
    return float(1 - (missed**2).mean() / logs.var())


if __name__ == "__main__":
    main()
