"""Which sampler needs the least compute? Studies simulated over a model of learning curves.

    python -m benchmarks.search.samplers [--studies 200] [--trials 40] [--samplers tpe gp]

A sampler proposes configs that nobody has trained. So a model (gradient boosting of small trees),
fitted to the curves of cats_curves.csv (see curves.py), says what curve a config would have. To
each simulated training the model's errors on a config that it did not see are added, those of all
epochs together, so two trainings of one config differ. The share of the final scores' variance that
the model explains of configs that it did not see is printed: a comparison of samplers is worth no
more than that, and below a tenth it is refused.

Each sampler is tried with full trials and on rungs, where TPE learns from waiting trials, too; gp
and cmaes learn from complete ones alone.
Compute is in images seen, and the target is what random search with full trials finds in the same
simulated world; see efficiency.py for the figures.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState, create_trial
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.multioutput import MultiOutputRegressor

from benchmarks.search.curves import CONFIG, TABLE, config_of
from benchmarks.search.efficiency import (
    OF_CATS,
    Curve,
    Found,
    check_enough,
    print_results,
    read_curves,
    results_of,
)
from study.config.space import suggest_params
from study.config.study_config import SamplerConfig, StudyConfig, load_study_config
from study.search.rungs import Rungs, Standing, going_on
from study.search.samplers import SeededSampler
from study.storage.optuna_db import id_of, storage_of, stored_trial

SAMPLERS = ("random", "tpe", "gp", "cmaes", "qmc")
RUNGS, KEEP = OF_CATS
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


def main() -> None:
    """Fit, simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    config = load_study_config(str(CONFIG))
    world = World.fitted(config)
    check_enough(len(world.errors))
    check_explains(world)
    results = simulate(world, arguments.samplers, arguments.trials, arguments.studies)
    if arguments.json:
        print(json.dumps({"explained": world.explained} | results, indent=2))
        return
    print(
        f"a model of {len(world.errors)} configs, which explains {world.explained:.0%} of the "
        f"final scores' variance; {arguments.studies} studies of {arguments.trials} trials\n"
    )
    print_results(results)


def check_explains(world: World) -> None:
    """Refuse a model that knows too little of configs that it did not see."""
    if world.explained < LEAST_EXPLAINED:
        raise SystemExit(
            f"a model of {len(world.errors)} configs explains {world.explained:.0%} of the final "
            f"scores' variance of configs that it did not see, less than {LEAST_EXPLAINED:.0%}: "
            "samplers cannot be compared on it; python -m benchmarks.search.curves adds configs"
        )


class World(NamedTuple):
    """A model of what curve a config has."""

    config: StudyConfig
    epochs: tuple[int, ...]
    predict: Callable[[dict[str, Any]], np.ndarray]
    """Values of the searched keys, by short names → ln(score) at each of the epochs."""
    errors: np.ndarray
    """(configs, epochs): ln(score) that the model misses where it did not see the config."""
    explained: float
    """R² of ln(final score), out of the model's sample."""

    @classmethod
    def fitted(cls, config: StudyConfig) -> World:
        """Fit the model to the table."""
        curves = {curve.config: curve.points for curve in read_curves(TABLE, baselines=True)}
        epochs = tuple(sorted({epoch for points in curves.values() for epoch in points}))
        whole = [points[epochs[-1]] for points in curves.values() if epochs[-1] in points]
        worst = BEYOND_WORST * max(whole)
        inputs = np.array([_encoded(config, config_of(config, number)[0]) for number in curves])
        scores = np.array(
            [[points.get(epoch, worst) for epoch in epochs] for points in curves.values()]
        )
        model = MultiOutputRegressor(GradientBoostingRegressor(**BOOSTING))
        folds = KFold(FOLDS, shuffle=True, random_state=0)
        logs = np.log(scores)
        errors = logs - cross_val_predict(model, inputs, logs, cv=folds)
        explained = 1 - (errors[:, -1] ** 2).mean() / logs[:, -1].var()
        model.fit(inputs, logs)

        def predict(params: dict[str, Any]) -> np.ndarray:
            return np.asarray(model.predict(np.array([_encoded(config, params)]))[0])

        return cls(config, epochs, predict, errors, float(explained))

    def curve(self, number: int, params: dict[str, Any], rng: random.Random) -> Curve:
        """One simulated training of a config."""
        logs = self.predict(params) + rng.choice(list(self.errors))
        points = dict(zip(self.epochs, np.exp(logs).tolist(), strict=True))
        return Curve(number, points, self.epochs[-1])


def _encoded(config: StudyConfig, params: dict[str, Any]) -> list[float]:
    """A config as numbers: places of choices, logarithms of what is searched on that scale."""
    encoded = []
    for key, dimension in config.space.items():
        value = params[config.short_name(key)]
        if dimension.type == "categorical":
            encoded.append(float(list(dimension.stored).index(value)))
        else:
            encoded.append(math.log(value) if dimension.log else float(value))
    return encoded


class Trial(NamedTuple):
    """A trial so far."""

    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]
    notes: dict[str, Any]
    """What the sampler keeps with the trial."""
    curve: Curve
    standing: Standing
    epochs: int
    """How far it has trained."""


def search(world: World, sampler: str, rungs: Rungs, seed: int) -> Iterator[Found]:
    """One study: rungs with one rung are full trials."""
    proposing = SeededSampler(SamplerConfig(name=sampler), seed)
    rng, notes = random.Random(seed), dict[str, Any]()
    trials: dict[int, Trial] = {}
    while True:
        new = len(trials) < rungs.total
        standings = [trial.standing for trial in trials.values()]
        chosen = going_on(standings, rungs, new=new)
        if not chosen and not new:
            return
        if chosen:
            trial = trials[chosen[0]]
        else:
            trial = propose(world, proposing, list(trials.values()), notes, rng)
        number, rung = trial.standing.number, len(trial.standing.scores)
        end = rungs.epochs[rung]
        scores = {**trial.standing.scores, rung + 1: trial.curve.points[end]}
        paused = rung + 1 if rung + 1 < len(rungs.epochs) else None
        standing = Standing(number, paused, over=True, scores=scores)
        trials[number] = trial._replace(standing=standing, epochs=end)
        whole = [it.curve.final for it in trials.values() if it.epochs == it.curve.whole]
        yield Found(sum(it.epochs for it in trials.values()), min(whole, default=math.inf))


def propose(
    world: World,
    sampler: SeededSampler,
    trials: Sequence[Trial],
    notes: dict[str, Any],
    rng: random.Random,
) -> Trial:
    """A new trial that a sampler proposes after others; `notes` are what it keeps of the study.

    The study is made again each time, because Optuna's own one in memory cannot reopen trials.
    """
    study = optuna.create_study(sampler=sampler)
    study.add_trials(_as_optuna_sees(trial) for trial in trials)
    storage, number = storage_of(study), id_of(study)
    for key, value in notes.items():
        storage.set_study_system_attr(number, key, value)
    asked = study.ask()
    params = suggest_params(asked, world.config)
    notes.update(storage.get_study_system_attrs(number))
    curve = world.curve(asked.number, params, rng)
    standing = Standing(asked.number, None, over=False)
    kept = dict(stored_trial(study, asked).system_attrs)
    return Trial(params, dict(asked.distributions), kept, curve, standing, 0)


def _as_optuna_sees(trial: Trial) -> optuna.trial.FrozenTrial:
    """Waiting trials are PRUNED, with a value for each score so far."""
    points = {epoch: score for epoch, score in trial.curve.points.items() if epoch <= trial.epochs}
    whole = trial.epochs == trial.curve.whole
    return create_trial(
        state=TrialState.COMPLETE if whole else TrialState.PRUNED,
        value=trial.curve.final if whole else points[trial.epochs],
        params=trial.params,
        distributions=trial.distributions,
        intermediate_values=points,
        system_attrs=trial.notes,
    )


def simulate(
    world: World, samplers: Sequence[str], trials: int, studies: int
) -> dict[str, dict[str, Any]]:
    """Compare samplers with full trials and on rungs; random search with full ones is the first."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    budgets = {
        "all trials in full": Rungs((world.epochs[-1],), 1.0, trials),
        f"rungs {', '.join(map(str, RUNGS))}, 1/{round(1 / KEEP)}": Rungs(RUNGS, KEEP, trials),
    }
    in_full = next(iter(budgets))
    ways = dict.fromkeys([("random", in_full), *product(samplers, budgets)])
    found = {
        f"{sampler}, {name}": [
            list(search(world, sampler, budgets[name], seed)) for seed in range(studies)
        ]
        for sampler, name in ways
    }
    return results_of(found, trials * world.epochs[-1])


if __name__ == "__main__":
    main()
