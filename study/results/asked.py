"""What `study ask` has found: pairs of trainings that differ in one setting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from optuna.study import Study

from study.config.dimensions import Choices
from study.config.study_config import StudyConfig
from study.errors import StudyError
from study.evidence.paired import Change, Verdict, judge
from study.results.repeated import Training, read_repeats, trainings_of
from study.storage.trial_result import TrialResult

USUAL_PAIRS = 12
"""Pairs at which a question ends undecided if nobody says otherwise."""


def name_of_question(name: str, key: str) -> str:
    """The name of the study that holds the pairs of a question about a searched key."""
    return f"{name}.ask.{StudyConfig.short_name(key)}"


def most_pairs(config: StudyConfig) -> int:
    """Pairs at which a question that has begun ends undecided: its error rate holds for these."""
    said = (it.repeats.pairs for it in config.baselines if it.repeats and it.repeats.pairs)
    return next(said, USUAL_PAIRS)


class Pair(NamedTuple):
    """Two trainings on one seed, alike but for the setting."""

    trial: int
    """The trial of the study whose other values they have."""
    without: Training
    with_it: Training

    @property
    def is_lost(self) -> bool:
        """Whether both trainings collapsed."""
        return self.without.collapsed and self.with_it.collapsed

    @property
    def difference(self) -> float:
        """ln(score with the second value) − ln(score with the first one)."""
        return math.log(self.with_it.score) - math.log(self.without.score)


@dataclass(frozen=True)
class Asked:
    """The pairs of a question so far."""

    key: str
    values: tuple[Any, Any]
    """What is compared: the first value, and the one that takes its place."""
    epochs: int
    """Length of each training."""
    planned: int
    """Pairs that were asked for."""
    pairs: tuple[Pair, ...]
    """Those that have ended, in their order, up to the first one that has not."""
    most: int
    """Pairs at which the question ends undecided."""

    @classmethod
    def read(cls, study: Study, key: str) -> Asked | None:
        """The pairs of a question about a study, from its database; None without."""
        name = name_of_question(study.study_name, key)
        found = read_repeats(study, name, StudyConfig.short_name(key))
        return None if found is None else cls.of(found[0], key, found[1])

    @classmethod
    def of(cls, config: StudyConfig, key: str, rows: Sequence[TrialResult]) -> Asked:
        """Read the pairs from the config of their study and its trials.

        Raises `StudyError` for scores that are not positive.
        """
        dimension, ended = config.space[key], trainings_of(rows)
        assert isinstance(dimension, Choices)
        first, second = dimension.stored.values()
        names: dict[int, dict[bool, str]] = {}
        trials: dict[int, int] = {}
        for baseline in config.baselines:
            if baseline.repeats and baseline.seed is not None:
                is_second = baseline.params[key] == second
                names.setdefault(baseline.seed, {})[is_second] = baseline.name
                trials[baseline.seed] = baseline.repeats.trial
        pairs = []
        for seed, both in names.items():
            if not all(name in ended for name in both.values()):
                break
            pairs.append(Pair(trials[seed], ended[both[False]], ended[both[True]]))
        if any(it.score <= 0 for pair in pairs for it in (pair.without, pair.with_it)):
            raise StudyError(
                f"'{config.study.name}' has scores that are not positive, so their ratios say "
                "nothing; a kernel distance near 0 can be so"
            )
        epochs, most = config.base.train.epochs, most_pairs(config)
        return cls(key, (first, second), epochs, len(names), tuple(pairs), most)

    def change(self) -> Change | None:
        """What the pairs say of the change; None before the first.

        Pairs of which both trainings collapsed say nothing.
        """
        differences = [pair.difference for pair in self.pairs if not pair.is_lost]
        return judge(differences, max(self.most, len(differences))) if differences else None

    def is_over(self) -> bool:
        """Whether there is a verdict, or all pairs have ended."""
        if len(self.pairs) < self.planned:
            return False
        change = self.change()
        decided = change is not None and change.verdict is not Verdict.UNDECIDED
        return decided or len(self.pairs) >= self.most
