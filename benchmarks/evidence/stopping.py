"""What does `study.stop: when_no_gain` save, and what does it cost? Simulated studies.

    python -m benchmarks.evidence.stopping [--studies 500] [--trials 40] [--spread 0.15] [--json]

Each trial has a true score, and its training has that times the noise of its seed (heavy tails:
Student's t with 4 degrees of freedom). The true scores are scattered. Those of a sampler that
learns fall, mostly over the first ten trials, to half of what they begin with. The rule of
`study.search.stopping` is asked after each trial.

Both the study that is stopped and the one that runs to its total choose the trial with the lowest
score. The table says how many trials the first had, how much its choice is above the other's, true
score against true score, in the mean and in the worst of twenty studies, and the same for a study
that always ends after as many trials as the rule lets it have on average.
"""

from __future__ import annotations

import argparse
import json
import math
from typing import NamedTuple

import numpy as np

from benchmarks.evidence.asking import standard_noise
from study.evidence.gain import possible_gain

SCATTERS = (0.05, 0.2, 0.5)
"""Standard deviations of ln(true score) between configs."""
FALL = math.log(2)
TRIALS_TO_LEARN = 5.0


class Row(NamedTuple):
    """What became of the studies of one kind."""

    scatter: float
    learns: bool
    trials: float
    """Mean, until the rule stops them."""
    above: float
    """How much the choice is above that of the whole study, mean of ln(true score)."""
    above_in_5_percent: float
    """As much or more in one of twenty studies."""
    fixed: float
    """The mean if every study ends after so many trials."""


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--spread", type=float, default=0.15, help="of ln(score) between seeds")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = [
        simulate(scatter, learns, arguments.spread, arguments.trials, arguments.studies)
        for learns in (False, True)
        for scatter in SCATTERS
    ]
    if arguments.json:
        print(json.dumps([row._asdict() for row in rows], indent=2))
        return
    print("| sampler | scatter | trials | above | in 5 % of studies | as many, always |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {'learns' if row.learns else 'random'} | {row.scatter:.0%} | {row.trials:.1f} of "
            f"{arguments.trials} | {math.expm1(row.above):+.1%} "
            f"| {math.expm1(row.above_in_5_percent):+.0%} | {math.expm1(row.fixed):+.1%} |"
        )


def simulate(scatter: float, learns: bool, spread: float, trials: int, studies: int) -> Row:
    """Studies of so many trials; a training's noise has the `spread`."""
    rng = np.random.default_rng(1)
    shape = studies, trials
    progress = FALL * np.expm1(-np.arange(trials) / TRIALS_TO_LEARN) if learns else 0.0
    truth = progress + scatter * rng.standard_normal(shape)
    seen = truth + spread * standard_noise(rng, "heavy", shape)
    ends = np.array([end(scores, spread) for scores in seen])
    whole = np.take_along_axis(truth, seen.argmin(1)[:, None], 1)[:, 0]
    above = np.array([chosen(*row) for row in zip(truth, seen, ends, strict=True)]) - whole
    always = round(float(ends.mean()))
    fixed = np.array([chosen(*row, always) for row in zip(truth, seen, strict=True)]) - whole
    return Row(
        scatter,
        learns,
        float(ends.mean()),
        float(above.mean()),
        float(np.quantile(above, 0.95)),
        float(fixed.mean()),
    )


def end(logs: np.ndarray, spread: float) -> int:
    """After how many trials the rule ends a study with these ln(score)."""
    scores = np.exp(logs).tolist()
    for begun in range(1, len(scores)):
        gain = possible_gain(scores[:begun], min(scores[:begun]), len(scores) - begun)
        if gain is not None and gain < spread:
            return begun
    return len(scores)


def chosen(truth: np.ndarray, seen: np.ndarray, trials: int) -> float:
    """The true ln(score) of the trial that looks best among the first."""
    return float(truth[seen[:trials].argmin()])


if __name__ == "__main__":
    main()
