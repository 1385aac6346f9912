"""How much compute does a search need? Studies simulated over real learning curves.

    python -m benchmarks.search.efficiency [--studies 1000] [--trials N] [--half even] [--json]

A simulated study draws random configs from cats_curves.csv (see curves.py), each at most once, and
reads their scores from it. The baselines that the table has as well are left out: they were made by
hand, and one of them is the best of all from the first score to the last. By default a study has
two thirds of the configs, so that the best one is not the same in all. All ways to spend compute
get the same configs in the same order, so they are compared in pairs. Compute is in images seen.
What a study has found is the lowest score of a trial that was trained to the end.

For each way the table says how much of random search's compute it needs to find as low a score as
random search does in all its full trials, and in how many studies it gets there with the same
configs; then how far above that score it is at its end and after a quarter of random search's
compute (medians). Intervals are 95 % of the studies.

What is best of several ways on the curves on which they are compared is flattered by that. With
--half the studies draw from the even or the odd numbers of configs alone: choose on one half, and
believe the other.

A second table says how well the order of the configs on the way agrees with that at the end
(Spearman's rank correlation), by each number that a rung may rank them by.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.trial import TrialState
from scipy.stats import spearmanr

from benchmarks.search.curves import CONFIG, TABLE, read_table
from study.config.study_config import load_study_config
from study.search.rungs import Rungs, Standing, going_on

RUNGS = ((19, 38, 171), (19, 57, 171), (38, 95, 171), (38, 171), (57, 171))
"""Epochs at which rungs end, as in 10,000, 20,000 and 90,000 images of 527 photos."""
KEEP = (1 / 2, 1 / 3, 1 / 4)
OF_CATS = RUNGS[0], KEEP[0]
"""The rungs of configs/cats.yaml, and the share that goes on."""
JUDGES = ("ema", "raw", "lower", "best")
"""What a rung may rank trials by: the score of the moving average or of the last weights, the lower
of both, or the moving average's best score so far."""
HALVES = ("even", "odd")
ON_THE_WAY = (19, 38, 57, 95)
ENOUGH = 18
"""Configs from which a simulation is worth reading."""


class Curve(NamedTuple):
    """One config's training."""

    config: int
    points: dict[int, float]
    """Epoch → score; a collapsed training has none after its end."""
    whole: int
    """Epochs of a full training."""
    judged: dict[int, float] | None = None
    """Epoch → what a rung ranks trials by, where that is not the score."""

    def at_rung(self, epoch: int) -> float:
        """What the rung that ends at an epoch ranks the trial by."""
        return (self.judged or {}).get(epoch, self.points[epoch])

    @property
    def final(self) -> float:
        """The score at the end; infinite for a training that collapsed."""
        return self.points.get(self.whole, math.inf)


class Found(NamedTuple):
    """What a study has found by some time."""

    epochs: int
    """Compute so far, of all trials."""
    best: float
    """The lowest final score so far."""


Way = Callable[[Sequence[Curve]], Iterator[Found]]
"""Spends compute on configs in a given order; yields what is found whenever a trial has stopped."""


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--trials", type=int, help="of a study (default: two thirds)")
    parser.add_argument("--half", choices=HALVES, help="use every other config alone")
    parser.add_argument("--judge", choices=JUDGES, default="ema", help="what rungs rank by")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    curves = _of_half(read_curves(TABLE, arguments.judge), arguments.half)
    check_enough(len(curves))
    trials = min(arguments.trials or len(curves) * 2 // 3, len(curves))
    results = simulate(curves, ways(curves[0].whole), trials, arguments.studies)
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    print(f"{len(curves)} configs, {arguments.studies} studies of {trials} trials\n")
    print_results(results)
    print("\n| order by | " + " | ".join(f"epoch {epoch}" for epoch in ON_THE_WAY) + " |")
    print("|---|" + "---|" * len(ON_THE_WAY))
    for judge in JUDGES:
        found = rank_correlations(_of_half(read_curves(TABLE, judge), arguments.half))
        print(f"| {judge} | " + " | ".join(f"{found[epoch]:.2f}" for epoch in ON_THE_WAY) + " |")


def _of_half(curves: list[Curve], half: str | None) -> list[Curve]:
    return [it for it in curves if half is None or it.config % 2 == HALVES.index(half)]


def rank_correlations(curves: Sequence[Curve]) -> dict[int, float]:
    """Epoch → rank correlation of what a rung would judge there with the final scores.

    A training that has collapsed by then, or before its end, counts as the worst.
    """
    finals = [curve.final for curve in curves]
    found = {}
    for epoch in ON_THE_WAY:
        seen = [curve.at_rung(epoch) if epoch in curve.points else math.inf for curve in curves]
        found[epoch] = float(spearmanr(seen, finals).statistic)
    return found


def check_enough(configs: int) -> None:
    """Refuse a table of too few configs to say anything."""
    if configs < ENOUGH:
        raise SystemExit(
            f"{TABLE.name} has {configs} configs, too few to say anything: {ENOUGH} are needed; "
            "python -m benchmarks.search.curves adds some"
        )


def print_results(results: dict[str, dict[str, Any]]) -> None:
    """A line for each way to spend compute, in markdown."""
    print("| way | compute to random search's best | reached | at its end | at a quarter |")
    print("|---|---|---|---|---|")
    for name, it in results.items():
        low, middle, high = (math.inf if share is None else share for share in it["compute"])
        print(
            f"| {name} | {middle:.2f} ({low:.2f} to {high:.2f}) | {it['reached']:.0%} "
            f"| {it['regret']:+.1%} | {it['quarter']:+.1%} |"
        )


def read_curves(path: Path, judge: str = "ema", *, baselines: bool = False) -> list[Curve]:
    """The curves of the table: scores of the moving average, and what rungs rank by (`JUDGES`).

    Those of the baselines only on request.
    """
    found: dict[int, dict[int, float]] = {}
    judged: dict[int, dict[int, float]] = {}
    known = 0 if baselines else len(load_study_config(str(CONFIG)).baselines)
    for row in read_table(path):
        if int(row["config"]) < known:
            continue
        config, epoch = int(row["config"]), int(row["epoch"])
        points, ranks = found.setdefault(config, {}), judged.setdefault(config, {})
        if not row["ema"]:  # it diverged before its first score
            continue
        ema, raw = float(row["ema"]), float(row["raw"])
        values = {"raw": raw, "lower": min(ema, raw), "best": min([ema, *points.values()])}
        points[epoch] = ema
        if judge in values:
            ranks[epoch] = values[judge]
    if not found:
        raise SystemExit(f"{path} has no curves yet; see python -m benchmarks.search.curves")
    whole = max(max(points, default=0) for points in found.values())
    return [
        Curve(config, points, whole, judged[config] or None) for config, points in found.items()
    ]


def ways(whole: int) -> dict[str, Way]:
    """Name → how compute is spent."""
    pruners: dict[str, Callable[[], BasePruner]] = {
        "random search, all trials in full": NopPruner,
        "median pruner, from half on": lambda: MedianPruner(5, whole // 2),
        "median pruner, from a fifth on": lambda: MedianPruner(5, whole // 5),
        "hyperband": lambda: HyperbandPruner(whole // 9, whole, 3),
    }
    made: dict[str, Way] = {name: _pruned(pruner) for name, pruner in pruners.items()}
    for epochs in RUNGS:
        for keep in KEEP:
            ends = ", ".join(map(str, epochs))
            made[f"rungs {ends}, 1/{round(1 / keep)} goes on"] = _in_rungs(epochs, keep)
    return made


def _pruned(pruner: Callable[[], BasePruner]) -> Way:
    def spend(curves: Sequence[Curve]) -> Iterator[Found]:
        name = " ".join(str(curve.config) for curve in curves)  # decides hyperband's brackets
        study = optuna.create_study(pruner=pruner(), study_name=name)
        epochs, best = 0, math.inf
        for curve in curves:
            trial, last, stopped = study.ask(), 0, False
            for epoch, score in curve.points.items():
                last = epoch
                trial.report(score, epoch)
                if epoch < curve.whole and trial.should_prune():
                    stopped = True
                    break
            epochs += last
            if stopped or curve.final == math.inf:
                study.tell(trial, state=TrialState.PRUNED)
            else:
                study.tell(trial, curve.final)
                best = min(best, curve.final)
            yield Found(epochs, best)

    return spend


def _in_rungs(ends: tuple[int, ...], keep: float) -> Way:
    def spend(curves: Sequence[Curve]) -> Iterator[Found]:
        epochs, best = 0, math.inf
        for leg in race(curves, ends, keep):
            epochs += leg.end - leg.begin
            if leg.end == ends[-1]:
                best = min(best, curves[leg.number].final)
            yield Found(epochs, best)

    return spend


class Leg(NamedTuple):
    """A trial's training on one rung."""

    number: int
    """Of the trial."""
    begin: int
    end: int
    """Epochs; a collapsed training ends within the rung."""


def race(curves: Sequence[Curve], ends: tuple[int, ...], keep: float) -> Iterator[Leg]:
    """The legs of a study in rungs of one worker, whose trial n has curve n, in their order."""
    rungs = Rungs(ends, keep, len(curves))
    trials: dict[int, Standing] = {}
    while True:
        new = len(trials) < len(curves)
        chosen = going_on(list(trials.values()), rungs, new=new)
        if not chosen and not new:
            return
        number = chosen[0] if chosen else len(trials)
        scores = dict(trials[number].scores) if chosen else {}
        begin, end = (0, *ends)[len(scores)], ends[len(scores)]
        reached = min(end, max(curves[number].points, default=0))
        if reached == end:
            scores[len(scores) + 1] = curves[number].at_rung(end)
        paused = len(scores) if reached == end < ends[-1] else None
        trials[number] = Standing(number, paused, over=True, scores=scores)
        yield Leg(number, begin, reached)


def simulate(
    curves: Sequence[Curve], ways: dict[str, Way], trials: int, studies: int
) -> dict[str, dict[str, Any]]:
    """Compare the ways, the first of which is random search, over studies of drawn configs.

    Drawn more than once, the best config would be found sooner, and would take several places on a
    rung.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    drawn = [random.Random(seed).sample(curves, k=trials) for seed in range(studies)]
    found = {name: [list(way(configs)) for configs in drawn] for name, way in ways.items()}
    return results_of(found, trials * curves[0].whole)


def results_of(found: dict[str, list[list[Found]]], whole: int) -> dict[str, dict[str, Any]]:
    """What each way found in its studies, against the first one, study by study.

    Returns for each way: `compute`, the share of `whole` epochs at which it has found as low a
    score as the first way in its whole study (2.5 %, median, 97.5 %; None where it never does);
    `reached`, in how many studies it does; `regret` and `quarter`, how far above that score it is
    at its end and after a quarter of `whole` (medians).
    """
    first = [runs[-1].best for runs in next(iter(found.values()))]
    results = {}
    for name, studies in found.items():
        shares, ends, quarters = list[float](), list[float](), list[float]()
        for best, runs in zip(first, studies, strict=True):
            reached = (it.epochs / whole for it in runs if it.best <= best)
            shares.append(next(reached, math.inf))
            ends.append(runs[-1].best / best - 1)
            early = [it.best for it in runs if it.epochs <= whole / 4]
            quarters.append((early[-1] if early else math.inf) / best - 1)
        results[name] = {
            "compute": [it if math.isfinite(it) else None for it in _percentiles(shares)],
            "reached": float(np.mean(np.isfinite(shares))),
            "regret": _percentiles(ends)[1],
            "quarter": _percentiles(quarters)[1],
        }
    return results


def _percentiles(values: Sequence[float]) -> list[float]:
    """2.5 %, median, 97.5 %; infinite ones are the largest."""
    ordered = sorted(values)
    places = (0.025, 0.5, 0.975)
    return [ordered[min(len(ordered) - 1, int(place * len(ordered)))] for place in places]


if __name__ == "__main__":
    main()
