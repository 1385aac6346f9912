"""Which sampler needs the least compute? Studies simulated over a model of learning curves.

    python -m benchmarks.search.samplers [--studies 200] [--trials 40] [--samplers tpe gp]

A sampler proposes configs that nobody has trained, in worlds made of real curves (world.py). What
the model behind them explains of configs that it did not see is printed: a comparison of samplers
is worth no more than that, and below a tenth it is refused. The same is printed of the worlds,
which should be as hard to learn.

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
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState, create_trial

from benchmarks.search.curves import CONFIG
from benchmarks.search.efficiency import (
    OF_CATS,
    Curve,
    Found,
    check_enough,
    print_results,
    results_of,
)
from benchmarks.search.world import Model, World, check_explains, explained_of_worlds
from study.config.space import suggest_params
from study.config.study_config import SamplerConfig, load_study_config
from study.search.rungs import Rungs, Standing, going_on
from study.search.samplers import SeededSampler
from study.storage.optuna_db import id_of, storage_of, stored_trial

SAMPLERS = ("random", "tpe", "gp", "cmaes", "qmc")
RUNGS, KEEP = OF_CATS


def main() -> None:
    """Fit, simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    model = Model.fitted(load_study_config(str(CONFIG)))
    check_enough(len(model.errors))
    check_explains(model)
    worlds = explained_of_worlds(model, min(20, arguments.studies))
    results = simulate(model, arguments.samplers, arguments.trials, arguments.studies)
    if arguments.json:
        shares = {"explained": model.explained, "explained_of_worlds": worlds}
        print(json.dumps(shares | results, indent=2))
        return
    print(
        f"a model of {len(model.errors)} configs, which explains {model.explained:.0%} of the "
        f"final scores' variance, and {worlds:.0%} of that in worlds made from it; "
        f"{arguments.studies} studies of {arguments.trials} trials, each in a world of its own\n"
    )
    print_results(results)


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


def search(model: Model, sampler: str, rungs: Rungs, seed: int) -> Iterator[Found]:
    """One study in the world of its seed: rungs with one rung are full trials."""
    world = World(model, seed)
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
    model: Model, samplers: Sequence[str], trials: int, studies: int
) -> dict[str, dict[str, Any]]:
    """Compare samplers with full trials and on rungs; random search with full ones is the first."""
    budgets = {
        "all trials in full": Rungs((model.epochs[-1],), 1.0, trials),
        f"rungs {', '.join(map(str, RUNGS))}, 1/{round(1 / KEEP)}": Rungs(RUNGS, KEEP, trials),
    }
    in_full = next(iter(budgets))
    ways = dict.fromkeys([("random", in_full), *product(samplers, budgets)])
    found = {
        f"{sampler}, {name}": [
            list(search(model, sampler, budgets[name], seed)) for seed in range(studies)
        ]
        for sampler, name in ways
    }
    return results_of(found, trials * model.epochs[-1])


if __name__ == "__main__":
    main()
