"""Does a race find the best config, at what price, and is its score as promised? Simulated races.

    python -m benchmarks.evidence.confirming [--races 1000] [--seeds 6] [--spread 0.15] [--json]

Each race has three trials of a study, whose true means are scattered, and two baselines: one about
as good as the trials, one clearly worse. Trainings of a config differ by noise between seeds with
heavy tails (Student's t with 4 degrees of freedom) or normal ones. A share of its variance may be
common to all configs on a seed. The race runs as `study confirm` does.

For each scatter the table says in how many races the config that is chosen is within 10 % of the
best one, what the race took of the compute of training all candidates on all seeds, in how many its
true score lies in the 95 % interval that is promised, and in how many the true ratio to the clearly
worse baseline lies in its interval. Beside it stands what choosing by a single training each would
do: how often it is within 10 %, and how far above the best on average.
"""

from __future__ import annotations

import argparse
import json
import math
from typing import NamedTuple

import numpy as np

from benchmarks.evidence.asking import TAILS, standard_noise
from study.evidence.race import FEWEST_SEEDS, WITHIN, Noise, Standings, stand

SCATTERS = (0.05, 0.15, 0.3)
BASELINES = (0.05, 0.4)
"""How far the baselines' ln(score) is above the trials' centre."""
COMMON = (0.0, 0.5)
"""Shares of the noise's variance that all configs on a seed have in common."""
TRIALS = 3
FOUND = [True] * TRIALS + [False] * len(BASELINES)


class Row(NamedTuple):
    """What became of the races with one scatter of the trials' true means."""

    scatter: float
    tails: str
    common: float
    good: float
    compute: float
    held: float
    ratio_held: float
    naive: float
    naive_regret: float
    """Mean; a share of the best score."""


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--races", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=6, help="the most of a race")
    parser.add_argument(
        "--spread",
        type=float,
        default=0.15,
        help="of ln(score) between seeds (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = [
        simulate(scatter, tails, common, arguments.spread, arguments.seeds, arguments.races)
        for scatter in SCATTERS
        for tails in TAILS
        for common in COMMON
    ]
    if arguments.json:
        print(json.dumps([row._asdict() for row in rows], indent=2))
        return
    print(
        "| scatter | noise | common | within 10 % | compute | promise held | ratio held "
        "| one seed: within 10 % | above |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.scatter:.0%} | {row.tails} | {row.common:.0%} | {row.good:.1%} "
            f"| {row.compute:.0%} | {row.held:.1%} | {row.ratio_held:.1%} | {row.naive:.1%} "
            f"| {row.naive_regret:+.1%} |"
        )


def simulate(
    scatter: float, tails: str, common: float, spread: float, seeds: int, races: int
) -> Row:
    """Races whose trials' ln(score) have this scatter, with noise of this spread between seeds."""
    rng, near = np.random.default_rng(2), math.log1p(WITHIN)
    behind, compute, held, ratios, naive = [], [], [], [], []
    for _ in range(races):
        truth = np.concatenate([rng.normal(0.0, scatter, TRIALS), BASELINES])
        own = standard_noise(rng, tails, (len(truth), seeds))
        shared = standard_noise(rng, tails, (1, seeds))
        noise = spread * (math.sqrt(1 - common) * own + math.sqrt(common) * shared)
        logs = truth[:, None] + noise
        found, spent = race(np.exp(logs), Noise(spread))
        expected = found.expected(found.leader)
        behind.append(truth[found.leader] - truth.min())
        compute.append(spent / logs.size)
        held.append(expected.low <= math.exp(truth[found.leader]) <= expected.high)
        ratio, worse = found.beyond(found.leader, len(truth) - 1), truth[-1]
        ratios.append(ratio.low <= math.exp(truth[found.leader] - worse) <= ratio.high)
        naive.append(truth[logs[:, 0].argmin()] - truth.min())
    return Row(
        scatter,
        tails,
        common,
        float(np.mean(np.array(behind) < near)),
        float(np.mean(compute)),
        float(np.mean(held)),
        float(np.mean(ratios)),
        float(np.mean(np.array(naive) < near)),
        float(np.expm1(naive).mean()),
    )


def race(scores: np.ndarray, noise: Noise) -> tuple[Standings, int]:
    """One race over (configs, seeds): its last standings, and how many trainings it took."""
    racing, spent = np.ones(len(scores), dtype=bool), 0
    trained: list[list[float]] = [[] for _ in scores]
    for seed in range(scores.shape[1]):
        for config in np.flatnonzero(racing):
            trained[config].append(float(scores[config, seed]))
        spent += int(racing.sum())
        if seed + 1 < FEWEST_SEEDS:
            continue
        found = stand([dict(enumerate(it)) for it in trained], racing.tolist(), FOUND, noise)
        racing[found.hopeless()] = False
        if found.decided or racing.sum() == 1:
            break
    return found, spent


if __name__ == "__main__":
    main()
