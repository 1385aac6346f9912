"""What the best trial of a search is expected to score on other seeds, from the search alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from optuna.study import Study
from optuna.trial import TrialState

from dcgan.evaluation.record import in_digits
from study.evidence.noise import noise_at
from study.evidence.race import Estimate, stand
from study.search.noise import noise_of
from study.search.objective import is_pareto
from study.storage.attributes import study_config
from study.storage.store import trial_name
from study.storage.trial_summaries import summaries_of

FEWEST = 3


@dataclass(frozen=True)
class Winner:
    """The best trial that the sampler proposed."""

    trial: int
    score: float
    """In the search, which picked it for this."""
    expected: Estimate
    """Of other trainings of its config, as long as a trial of the study."""

    def describe(self) -> str:
        """One sentence."""
        score, low, high = map(in_digits, self.expected)
        return (
            f"the search has {in_digits(self.score)} for {trial_name(self.trial)}, which it picked "
            f"for that: on other seeds {score} is to be expected (95 %: {low} to {high})"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        value, low, high = self.expected
        expected = {"value": value, "low": low, "high": high}
        return {"trial": self.trial, "score": self.score, "expected": expected}


def winner_of(study: Study) -> Winner | None:
    """The winner's curse: the best of many noisy scores is partly luck.

    The scores of the complete trials are scattered around a common centre, and each differs by
    noise from what its config scores on average (see `study.evidence.race`). None with fewer than
    `FEWEST` complete trials of the sampler, with several objectives, or without positive scores.
    """
    if is_pareto(study):
        return None
    rows = [row for row in summaries_of(study) if row.state == TrialState.COMPLETE]
    found = {row.number: row.score for row in rows if row.score and not row.is_baseline}
    if len(found) < FEWEST or min(found.values()) <= 0:
        return None
    config = study_config(study)
    noise = noise_at(noise_of(study), config.base.train.epochs, config.noise.assumed)
    everyone = [True] * len(found)
    standings = stand([[score] for score in found.values()], everyone, everyone, noise)
    best = min(found, key=lambda number: (found[number], number))
    return Winner(best, found[best], standings.expected(list(found).index(best)))
