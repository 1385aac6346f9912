"""How often is a verdict on a change wrong, and how many pairs does it take? Simulated questions.

    python -m benchmarks.evidence.asking [--questions 2000] [--pairs 12] [--spread 0.15] [--json]

Each question has a true effect. Its pairs differ by that and by the noise of two trainings, whose
tails are heavy (Student's t with 4 degrees of freedom) or normal. The question looks after each
pair, as `study.evidence.paired` does, and ends with a verdict or with its last pair.

For each effect the table says how often the verdict is wrong, how often there is one, how many
pairs it took on average, and how many of the shown 95 % intervals hold the truth. Beside it stands
what looking at a plain t-test at 5 % after each pair would do: how often it is wrong.
"""

from __future__ import annotations

import argparse
import json
import math
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr

from study.evidence.paired import WORTH_MENTIONING, Change, Verdict, judge
from study.evidence.sequential import FEWEST

EFFECTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
TAILS = {"normal": None, "heavy": 4.0}
"""Kinds of noise between seeds: Student's degrees of freedom, None for a normal distribution."""


class Row(NamedTuple):
    """What became of the questions with one true effect."""

    effect: float
    tails: str
    wrong: float
    decided: float
    pairs: float
    """Mean over questions."""
    covered: float
    """Share of shown intervals that hold the truth."""
    naive: float
    """Share of wrong verdicts if each look is a t-test at 5 %."""


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--pairs", type=int, default=12, help="the most of a question")
    parser.add_argument(
        "--spread",
        type=float,
        default=0.15,
        help="of ln(score) between seeds (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = [
        simulate(effect, tails, arguments.spread, arguments.pairs, arguments.questions)
        for effect in EFFECTS
        for tails in TAILS
    ]
    if arguments.json:
        print(json.dumps([row._asdict() for row in rows], indent=2))
        return
    print("| effect | noise | wrong | decided | pairs | intervals hold | wrong at 5 % each look |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.effect:+.0%} | {row.tails} | {row.wrong:.1%} | {row.decided:.0%} "
            f"| {row.pairs:.1f} | {row.covered:.1%} | {row.naive:.1%} |"
        )


def simulate(effect: float, tails: str, spread: float, most: int, questions: int) -> Row:
    """Questions whose change raises the score by `effect`; a training's noise has the `spread`."""
    truth = math.log1p(effect)
    differences = truth + noise(np.random.default_rng(1), tails, spread, (questions, most))
    answers = [ask(row, most) for row in differences]
    wrong = [is_wrong(answer.verdict, truth) for answer in answers]
    return Row(
        effect,
        tails,
        float(np.mean(wrong)),
        float(np.mean([answer.verdict is not Verdict.UNDECIDED for answer in answers])),
        float(np.mean([answer.pairs for answer in answers])),
        float(np.mean([answer.low <= effect <= answer.high for answer in answers])),
        float(np.mean([is_wrong(naive(row), truth) for row in differences])),
    )


def noise(
    rng: np.random.Generator, tails: str, spread: float, shape: tuple[int, int]
) -> np.ndarray:
    """Differences of the noise of two trainings each, of which each has the spread."""
    both = standard_noise(rng, tails, (2, *shape))
    return spread * (both[0] - both[1])


def standard_noise(rng: np.random.Generator, tails: str, shape: tuple[int, ...]) -> np.ndarray:
    """Noise of one kind with standard deviation 1."""
    freedom = TAILS[tails]
    if freedom is None:
        return rng.standard_normal(shape)
    return rng.standard_t(freedom, shape) / math.sqrt(freedom / (freedom - 2))


def ask(differences: np.ndarray, most: int) -> Change:
    """Look after each pair until there is a verdict."""
    for pairs in range(1, most):
        found = judge(differences[:pairs].tolist(), most)
        if found.verdict is not Verdict.UNDECIDED:
            return found
    return judge(differences.tolist(), most)


def naive(differences: np.ndarray) -> Verdict:
    """The first verdict of a t-test at 5 % after each pair."""
    for pairs in range(FEWEST, len(differences) + 1):
        seen = differences[:pairs]
        error = seen.std(ddof=1) / math.sqrt(pairs)
        if 2 * stdtr(pairs - 1, -abs(seen.mean()) / error) < 0.05:
            return Verdict.HURTS if seen.mean() > 0 else Verdict.HELPS
    return Verdict.UNDECIDED


def is_wrong(verdict: Verdict, truth: float) -> bool:
    """Whether a verdict contradicts the true difference of ln(score)."""
    match verdict:
        case Verdict.HELPS:
            return truth >= 0
        case Verdict.HURTS:
            return truth <= 0
        case Verdict.ALIKE:
            return abs(truth) > math.log1p(WORTH_MENTIONING)
        case Verdict.UNDECIDED:
            return False


if __name__ == "__main__":
    main()
