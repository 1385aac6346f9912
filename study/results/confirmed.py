"""What `study confirm` has found: configs of a study, trained again on several seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from optuna.study import Study

from study.config.baselines import Baseline
from study.config.study_config import StudyConfig
from study.evidence.promise import Promise
from study.evidence.race import FEWEST_SEEDS, USUAL, Estimate, Noise, Standings, stand
from study.results.repeated import read_repeats, trainings_of
from study.search.noise import noise_between_seeds
from study.storage.store import trial_name
from study.storage.trial_result import TrialResult
from study.storage.trial_summaries import summaries_of

MOST_FORESEEN = 100
"""Seeds beyond which nobody is told how many would decide."""


def name_of_confirmation(name: str) -> str:
    """The name of the study that holds a study's repeated trainings."""
    return f"{name}.confirm"


@dataclass(frozen=True)
class Candidate:
    """A config that is trained again on several seeds."""

    trial: int
    """The trial of the study that had it."""
    baseline: str | None
    """Its name if it is a baseline."""
    searched: float | None
    """The trial's score in the study."""
    scores: Mapping[int, float] = field(default_factory=dict)
    """Seed → score, of ended trainings. One that diverged counts as worse than all others."""
    planned: frozenset[int] = frozenset()
    """Seeds of the trainings that were asked for."""
    without_score: frozenset[int] = frozenset()
    """Seeds of those that diverged, whose entry in `scores` stands for having none."""
    joined_later: bool = False
    """Whether others had been asked for a second training before."""

    @property
    def name(self) -> str:
        """How it is called in tables."""
        return self.baseline or trial_name(self.trial)

    @property
    def is_done(self) -> bool:
        """Whether all that was asked for is finished."""
        return self.planned <= self.scores.keys()


@dataclass(frozen=True)
class Confirmation:
    """The repeated trainings of a study's configs."""

    study: str
    """The study whose configs they are."""
    config: StudyConfig
    """Of the study that holds the trainings."""
    candidates: tuple[Candidate, ...]
    """In the order in which they joined; see `ranked`."""
    noise: Noise = USUAL
    """What the study knew of the noise between seeds before."""

    @classmethod
    def read(cls, study: Study) -> Confirmation | None:
        """The confirmation of a study, from the database that the study is in; None without."""
        found = read_repeats(study, name_of_confirmation(study.study_name))
        if found is None:
            return None
        config, repeats = found
        candidates = _candidates(config, repeats, summaries_of(study))
        assumed = config.noise.assumed or USUAL.spread
        noise = noise_between_seeds(study, config.base.train.epochs, assumed)
        return cls(study.study_name, config, tuple(candidates), noise)

    @property
    def epochs(self) -> int:
        """Length of each training."""
        return self.config.base.train.epochs

    @cached_property
    def scored(self) -> list[Candidate]:
        """The candidates with a finished training."""
        return [candidate for candidate in self.candidates if candidate.scores]

    @property
    def is_comparable(self) -> bool:
        """Whether all scores are positive; a kernel distance near 0 may be below it."""
        return all(score > 0 for it in self.candidates for score in it.scores.values())

    @property
    def seeds(self) -> int:
        """The most seeds that any candidate was asked to train on."""
        return max((len(candidate.planned) for candidate in self.candidates), default=0)

    @property
    def racing(self) -> list[Candidate]:
        """The candidates that were asked to train on all seeds so far."""
        return [candidate for candidate in self.candidates if len(candidate.planned) == self.seeds]

    @cached_property
    def standings(self) -> Standings | None:
        """Where the candidates with scores stand, in their order.

        None without any, and if a score is not positive: scores are compared by their ratios.
        """
        if not self.scored or not self.is_comparable:
            return None
        racing = [it in self.racing and len(it.scores) >= FEWEST_SEEDS for it in self.scored]
        return stand(
            [it.scores for it in self.scored],
            racing if any(racing) else [True] * len(racing),
            [it.baseline is None for it in self.scored],
            self.noise,
            [it.without_score for it in self.scored],
        )

    @property
    def leader(self) -> Candidate | None:
        """The config to choose by now.

        None before all in the race have `FEWEST_SEEDS` scores, but for those that joined later.
        """
        open_still = (it for it in self.racing if len(it.scores) < FEWEST_SEEDS)
        if self.standings is None or not all(it.joined_later for it in open_still):
            return None
        return self.scored[self.standings.leader]

    def expected(self, candidate: Candidate) -> Estimate:
        """The score that a candidate with scores has on average over seeds."""
        assert self.standings is not None
        return self.standings.expected(self.scored.index(candidate))

    def beyond(self, candidate: Candidate, other: Candidate) -> Estimate:
        """The ratio of a candidate's score to that of another one, both with scores."""
        assert self.standings is not None
        return self.standings.beyond(*map(self.scored.index, (candidate, other)))

    def promise(self, trial: int) -> Promise | None:
        """What a trial's config is expected to score when it is trained again, if that is known."""
        for candidate in self.scored if self.standings else ():
            if candidate.trial == trial and len(candidate.scores) >= FEWEST_SEEDS:
                assert self.standings is not None
                expected, spread = self.expected(candidate), self.standings.spread
                return Promise(*expected, spread, len(candidate.scores), self.epochs)
        return None

    def chance(self, candidate: Candidate) -> float:
        """The probability that a candidate with scores is the best."""
        assert self.standings is not None
        return float(self.standings.best[self.scored.index(candidate)])

    @property
    def ranked(self) -> list[Candidate]:
        """The candidates with scores, the leader first, then by their expected score."""
        assert self.standings is not None
        leader = self.scored[self.standings.leader]
        return sorted(self.scored, key=lambda it: (it is not leader, self.expected(it).value))


def wins(candidate: Candidate, other: Candidate) -> tuple[int, int]:
    """On how many seeds that both have trained on a candidate has the lower score; of how many."""
    both = candidate.scores.keys() & other.scores.keys()
    return sum(candidate.scores[seed] < other.scores[seed] for seed in both), len(both)


def more_seeds(ratio: Estimate, seeds: int) -> int | None:
    """About how many more seeds each would tell two configs apart, if they differ as it seems.

    The interval of their ratio narrows with the square root of the seeds. None for very many.
    """
    half, middle = math.log(ratio.high / ratio.low) / 2, abs(math.log(ratio.value))
    needed = seeds * (half / middle) ** 2 if middle > 0 else math.inf
    return max(math.ceil(needed) - seeds, 1) if needed <= MOST_FORESEEN else None


def _candidates(
    config: StudyConfig, repeats: Sequence[TrialResult], trials: Sequence[TrialResult]
) -> list[Candidate]:
    planned: dict[int, list[Baseline]] = {}
    later = set[int]()
    for baseline in config.baselines:
        if baseline.repeats:
            trial = baseline.repeats.trial
            if trial not in planned and any(len(it) > 1 for it in planned.values()):
                later.add(trial)
            planned.setdefault(trial, []).append(baseline)
    ended, searched = trainings_of(repeats), {row.number: row.score for row in trials}
    found = []
    for trial, baselines in planned.items():
        seeds = {it.name: it.seed for it in baselines if it.seed is not None}
        mine = {seed: ended[name] for name, seed in seeds.items() if name in ended}
        found.append(
            Candidate(
                trial,
                baselines[0].repeats.baseline if baselines[0].repeats else None,
                searched.get(trial),
                {seed: training.score for seed, training in mine.items()},
                frozenset(seeds.values()),
                frozenset(seed for seed, training in mine.items() if training.collapsed),
                trial in later,
            )
        )
    return found
