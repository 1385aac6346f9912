"""What the best trial of a search is expected to score on other seeds, from the search alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import optuna
from optuna.study import Study
from optuna.trial import TrialState

from dcgan.evaluation.record import in_digits
from study.evidence.noise import noise_at, together
from study.evidence.race import USUAL, Estimate, Noise, stand
from study.results.confirmed import name_of_confirmation
from study.results.repeated import read_repeats
from study.search.noise import noise_of, repeated_in
from study.search.objective import is_pareto
from study.storage.attributes import study_config
from study.storage.optuna_db import storage_of
from study.storage.store import trial_name
from study.storage.trial_summaries import summaries_of

FEWEST = 3
MOST = 200
"""Of more other trials, this many say how far the scores are scattered, of evenly spaced ranks."""


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


def final_noise(study: Study) -> Noise:
    """The noise between seeds at the end of a trial, as far as it is known by now.

    By repeated trainings of this study, its confirmation and earlier studies, else assumed.
    """
    config = study_config(study)
    measured = noise_of(study)
    if read_repeats(study, name := name_of_confirmation(study.study_name)):
        repeats = optuna.load_study(study_name=name, storage=storage_of(study))
        measured = together(measured, repeated_in(repeats.get_trials(deepcopy=False)))
    return noise_at(measured, config.base.train.epochs, config.noise.assumed or USUAL.spread)


def winner_of(study: Study, noise: Noise) -> Winner | None:
    """The winner's curse: the best of many noisy scores is partly luck.

    The scores of the complete trials are scattered around a common centre, and each differs by
    `noise` from what its config scores on average (see `study.evidence.race`). None with fewer than
    `FEWEST` complete trials of the sampler, with several objectives, without positive scores, and
    for a study that trains configs of another one again.
    """
    config = study_config(study)
    if is_pareto(study) or any(it.repeats or it.continues for it in config.baselines):
        return None
    rows = [row for row in summaries_of(study) if row.state == TrialState.COMPLETE]
    found = {row.number: row.score for row in rows if row.score and not row.is_baseline}
    if len(found) < FEWEST or min(found.values()) <= 0:
        return None
    best, *others = sorted(found, key=lambda number: (found[number], number))
    scores = [found[best], *(found[number] for number in others[:: -(-len(others) // MOST)])]
    everyone = [True] * len(scores)
    standings = stand(
        [{place: score} for place, score in enumerate(scores)], everyone, everyone, noise
    )
    return Winner(best, scores[0], standings.expected(0))
