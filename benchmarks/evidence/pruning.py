"""Does pruning stop the trial that would have won? Studies simulated over real learning curves.

    python -m benchmarks.evidence.pruning [--studies 1000] [--trials 12] [--spread 0.15] [--json]

A simulated study draws configs from benchmarks/search/cats_curves.csv, each at most once. Each
training differs from its config's curve by a factor that is the same at all epochs: noise between
seeds, of heavy tails (Student's t with 4 degrees of freedom). The winner is the training with the
lowest score at the end.

For each pruner the table says in how many studies it stopped the winner, what it took of the
compute of all trials in full, and how far above the winner its best score is on average. Then the
same study goes on with more trials until it has taken that compute, too: how far its best score is
from that of the trials in full on average, and in how many studies it is worse. Each pruner is
Optuna's own, and as this project uses it, which stops a trial only for more than the noise
(`study.search.fair`).
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import optuna
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
)

from benchmarks.evidence.asking import standard_noise
from benchmarks.search.curves import TABLE
from benchmarks.search.efficiency import Curve, check_enough, read_curves
from study.search.fair import FairHalving, FairHyperband, FairPercentile

STARTUP = 5
HALVING = {"min_resource": 19, "reduction_factor": 3}
HYPERBAND = {"min_resource": 19, "max_resource": 171, "reduction_factor": 3}


class Row(NamedTuple):
    """What became of the studies with one pruner."""

    pruner: str
    fair: bool
    lost: float
    """Share of the studies whose winner was stopped."""
    compute: float
    """Mean; a share of all trials in full."""
    regret: float
    """Mean of best score / winner's score - 1."""
    gain: float
    """The same with as many trials as the compute of all in full is enough for."""
    worse: float
    """Share of those studies that end with a worse score than the winner's."""


class Trained(NamedTuple):
    """What became of a trial."""

    epochs: int
    final: float
    """The score at the end; infinite if it was stopped or collapsed."""


def pruners() -> list[tuple[str, bool, Callable[[], BasePruner]]]:
    """Name, whether it is ours, and how to make one."""
    return [
        ("median", False, lambda: MedianPruner(STARTUP)),
        ("median", True, lambda: FairPercentile(50.0, n_startup_trials=STARTUP)),
        ("percentile 25", False, lambda: PercentilePruner(25.0, STARTUP)),
        ("percentile 25", True, lambda: FairPercentile(25.0, n_startup_trials=STARTUP)),
        ("successive halving", False, lambda: SuccessiveHalvingPruner(**HALVING)),
        ("successive halving", True, lambda: FairHalving(**HALVING)),
        ("hyperband", False, lambda: HyperbandPruner(**HYPERBAND)),
        ("hyperband", True, lambda: FairHyperband(**HYPERBAND)),
    ]


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--trials", type=int, default=12, help="of a study")
    parser.add_argument("--spread", type=float, default=0.15, help="of ln(score) between seeds")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    curves = read_curves(TABLE)
    check_enough(len(curves))
    rows = simulate(curves, arguments.trials, arguments.studies, arguments.spread)
    if arguments.json:
        print(json.dumps([row._asdict() for row in rows], indent=2))
        return
    print(f"{len(curves)} configs, {arguments.studies} studies of {arguments.trials} trials\n")
    print("| pruner | winner lost | compute | best score | at equal compute | worse |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        name = f"{row.pruner}, {'beyond the noise' if row.fair else 'as in Optuna'}"
        print(
            f"| {name} | {row.lost:.1%} | {row.compute:.0%} | {row.regret:+.1%} "
            f"| {row.gain:+.1%} | {row.worse:.1%} |"
        )


def simulate(curves: Sequence[Curve], trials: int, studies: int, spread: float) -> list[Row]:
    """One row for each pruner, over the same studies."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    drawn = [trained(curves, seed, spread) for seed in range(studies)]
    rows = []
    for name, fair, make in pruners():
        found = [compared(study, trials, make, name) for study in drawn]
        rows.append(Row(name, fair, *(float(np.mean(it)) for it in zip(*found, strict=True))))
    return rows


def compared(
    curves: Sequence[Curve], trials: int, make: Callable[[], BasePruner], name: str
) -> tuple[bool, float, float, float, bool]:
    """The numbers of a `Row` for one study, whose first `trials` curves are its trials."""
    winner, whole = min(curve.final for curve in curves[:trials]), trials * curves[0].whole
    few = run(curves[:trials], make(), name)
    many = run(curves, make(), name, whole)
    best, best_of_many = (min(it.final for it in found) for found in (few, many))
    compute = sum(it.epochs for it in few) / whole
    after = best / winner - 1, best_of_many / winner - 1
    return best > winner, compute, *after, best_of_many > winner


def trained(curves: Sequence[Curve], seed: int, spread: float) -> list[Curve]:
    """The trainings of a study: all configs in some order, with the noise of a seed each."""
    chosen = random.Random(seed).sample(list(curves), k=len(curves))
    noise = standard_noise(np.random.default_rng(seed), "heavy", (len(chosen),))
    factors = np.exp(spread * noise)
    return [
        curve._replace(points={epoch: score * factor for epoch, score in curve.points.items()})
        for curve, factor in zip(chosen, factors, strict=True)
    ]


def run(
    curves: Sequence[Curve], pruner: BasePruner, name: str, most_epochs: float = math.inf
) -> list[Trained]:
    """The trials of a study, in their order; none begins after so many epochs."""
    names = " ".join(str(curve.config) for curve in curves)  # decides hyperband's brackets
    study = optuna.create_study(pruner=pruner, study_name=f"{name} {names}")
    found = list[Trained]()
    for curve in curves:
        if sum(it.epochs for it in found) >= most_epochs:
            break
        trial, last, whole = study.ask(), 0, False
        for epoch, score in curve.points.items():
            last = epoch
            trial.report(score, epoch)
            whole = epoch == curve.whole
            if not whole and trial.should_prune():
                break
        found.append(Trained(last, curve.final if whole else math.inf))
        if whole:
            study.tell(trial, curve.final)
        else:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    return found


if __name__ == "__main__":
    main()
