"""Which sampler needs the least compute? Studies simulated over a model of learning curves.

    python -m benchmarks.search.samplers [--studies 200] [--trials 40] [--samplers tpe gp]

A sampler proposes configs that nobody has trained, in worlds made of real curves (world.py). A
comparison of samplers is worth no more than what these are made of: below a tenth of the variance
explained it is refused. How smooth a config's score is, and how large chance is, the curves do not
say, so try more than one --smooth-over and --seed-noise.

Each sampler is tried with full trials and on rungs, where TPE learns from waiting trials, too; gp
and cmaes learn from complete ones alone.
Compute is in images seen, and the target is what random search with full trials finds in the same
simulated world; see efficiency.py for the figures. A study chooses the trial with the lowest score,
of which chance is a part; what counts is that trial's score without it.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
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
from benchmarks.search.world import SEED_NOISE, SMOOTH_OVER, Model, World, check_explains
from study.config.space import suggest_params
from study.config.study_config import SamplerConfig, load_study_config
from study.search.rungs import Rungs, Standing, going_on
from study.search.samplers import SeededSampler
from study.storage.optuna_db import id_of, storage_of, stored_trial

Worlds = Callable[[int], World]
"""The world of each seed."""
SAMPLERS = ("random", "tpe", "gp", "cmaes", "qmc")
RUNGS, KEEP = OF_CATS


def main() -> None:
    """Fit, simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--smooth-over", type=float, default=SMOOTH_OVER, metavar="DISTANCE")
    parser.add_argument("--seed-noise", type=float, default=SEED_NOISE, metavar="DEVIATION")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    model = Model.fitted(load_study_config(str(CONFIG)))
    check_enough(len(model.errors))
    check_explains(model)
    worlds = partial(
        World, model, smooth_over=arguments.smooth_over, seed_noise=arguments.seed_noise
    )
    results = simulate(
        worlds, model.epochs, arguments.samplers, arguments.trials, arguments.studies
    )
    if arguments.json:
        print(json.dumps({"explained": model.explained} | results, indent=2))
        return
    print(
        f"the model of {len(model.errors)} configs explains {model.explained:.0%} of the final "
        f"scores' variance\n{arguments.studies} studies of {arguments.trials} trials, each in a "
        f"world of its own: smooth over {arguments.smooth_over}, chance of "
        f"{arguments.seed_noise:.0%}\n"
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
    expected: float
    """Its final score without chance."""
    epochs: int
    """How far it has trained."""


def search(worlds: Worlds, sampler: str, rungs: Rungs, seed: int) -> Iterator[Found]:
    """One study in the world of its seed: rungs with one rung are full trials."""
    world = worlds(seed)
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
        whole = [it for it in trials.values() if it.epochs == it.curve.whole]
        lowest = min(whole, key=lambda it: it.curve.final, default=None)
        best = lowest.expected if lowest else math.inf
        yield Found(sum(it.epochs for it in trials.values()), best)


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
    expected = math.exp(world.expected(params)[-1])
    return Trial(params, dict(asked.distributions), kept, curve, standing, expected, 0)


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
    worlds: Worlds, epochs: Sequence[int], samplers: Sequence[str], trials: int, studies: int
) -> dict[str, dict[str, Any]]:
    """Compare samplers with full trials and on rungs; random search with full ones is the first."""
    budgets = {
        "all trials in full": Rungs((epochs[-1],), 1.0, trials),
        f"rungs {', '.join(map(str, RUNGS))}, 1/{round(1 / KEEP)}": Rungs(RUNGS, KEEP, trials),
    }
    in_full = next(iter(budgets))
    ways = dict.fromkeys([("random", in_full), *product(samplers, budgets)])
    found = {
        f"{sampler}, {name}": [
            list(search(worlds, sampler, budgets[name], seed)) for seed in range(studies)
        ]
        for sampler, name in ways
    }
    return results_of(found, trials * epochs[-1])


if __name__ == "__main__":
    main()
