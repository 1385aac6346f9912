"""Does pruning stop the trial that would have won? Studies simulated over real learning curves.

    python -m benchmarks.evidence.pruning [--studies 1000] [--trials 12] [--spread 0.15] [--json]

A simulated study draws configs from benchmarks/search/cats_curves.csv, each at most once. Each
training differs from its config's curve by a factor that is the same at all epochs: noise between
seeds, of heavy tails (Student's t with 4 degrees of freedom). The winner is the training with the
lowest score at the end.

For each pruner the table says in how many studies it stopped the winner, what it took of the
compute of all trials in full, and how far above the winner its best score is on average: Optuna's
own, and as this project uses it, which stops a trial only for more than the noise (`study.search
.fair`).
"""

from __future__ import annotations

import argparse
import json
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
    print("| pruner | winner lost | compute | best score above the winner's |\n|---|---|---|---|")
    for row in rows:
        name = f"{row.pruner}, {'beyond the noise' if row.fair else 'as in Optuna'}"
        print(f"| {name} | {row.lost:.1%} | {row.compute:.0%} | {row.regret:.1%} |")


def simulate(curves: Sequence[Curve], trials: int, studies: int, spread: float) -> list[Row]:
    """One row for each pruner, over the same studies."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    drawn = [trained(curves, trials, seed, spread) for seed in range(studies)]
    rows = []
    for name, fair, make in pruners():
        ended = [run(study, make(), name) for study in drawn]
        lost, compute, regret = (float(np.mean(values)) for values in zip(*ended, strict=True))
        rows.append(Row(name, fair, lost, compute, regret))
    return rows


def trained(curves: Sequence[Curve], trials: int, seed: int, spread: float) -> list[Curve]:
    """The trainings of a study: curves of drawn configs with the noise of a seed each."""
    chosen = random.Random(seed).sample(list(curves), k=trials)
    noise = standard_noise(np.random.default_rng(seed), "heavy", (trials,))
    factors = np.exp(spread * noise)
    return [
        curve._replace(points={epoch: score * factor for epoch, score in curve.points.items()})
        for curve, factor in zip(chosen, factors, strict=True)
    ]


def run(curves: Sequence[Curve], pruner: BasePruner, name: str) -> tuple[bool, float, float]:
    """Whether the winner was stopped, the compute, and the regret of a study."""
    names = " ".join(str(curve.config) for curve in curves)  # decides hyperband's brackets
    study = optuna.create_study(pruner=pruner, study_name=f"{name} {names}")
    finals, epochs = list[float](), 0
    winner = min(range(len(curves)), key=lambda number: curves[number].final)
    for curve in curves:
        trial, last, whole = study.ask(), 0, False
        for epoch, score in curve.points.items():
            last = epoch
            trial.report(score, epoch)
            whole = epoch == curve.whole
            if not whole and trial.should_prune():
                break
        epochs += last
        if whole:
            study.tell(trial, curve.final)
        else:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        finals.append(curve.final if whole else np.inf)
    best = curves[winner].final
    return finals[winner] > best, epochs / len(curves) / curves[0].whole, min(finals) / best - 1


if __name__ == "__main__":
    main()
