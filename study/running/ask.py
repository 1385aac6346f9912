"""Answers a question about one setting of a study by pairs of trainings that differ in it alone.

The other values of a pair are those of one of the study's best trials, which take turns, so the
answer holds for them and not for one config alone. Both trainings have the same seed. The pairs are
judged one after the other, and the question ends at a verdict (see `study.evidence.paired`). As
with `study.running.confirm`, the trainings are trials of a study of their own, from which follows
what comes next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.study import Study
from optuna.trial import TrialState

from dcgan.config.settings import get_dotted, nearest, override, parse_assignments
from dcgan.errors import UsageError
from dcgan.runtime.seeds import derive_seed
from study.config.baselines import BASELINE_NAME_LENGTH, Baseline, Repeated
from study.config.dimensions import Choices, plain, plain_value
from study.config.study_config import StudyConfig
from study.errors import StudyError
from study.results.asked import USUAL_PAIRS, Asked, most_pairs, name_of_question
from study.results.repeated import repeats_trials_of
from study.running.derived import NOT_POSITIVE, OTHER_STUDY, begun, derived
from study.running.warm_start import params_here
from study.storage.attributes import study_config
from study.storage.optuna_db import briefly
from study.storage.store import Store, trial_name
from study.storage.trial_result import TrialResult
from study.storage.trial_summaries import summaries_of

GOOD = 0.25
"""The share of the trials, best first, that counts as the good region."""
FEWEST_GOOD = 3
"""Trials of the good region, if there are so many."""


@dataclass(frozen=True)
class Question:
    """What `study ask` was asked."""

    name: str
    """The study."""
    key: str
    """The searched key, in full."""
    values: tuple[Any, Any]
    """What is compared: the first value, and the one that takes its place."""
    pairs: int | None
    """Pairs after which the question ends undecided (default: as it was begun, else 12)."""
    epochs: int | None = None
    """Length of each training (default: that of the study's trials)."""

    @classmethod
    def parse(
        cls, store: Store, name: str, text: str, pairs: int | None, epochs: int | None
    ) -> Question:
        """Read a question: a searched key or the beginning of its name, alone or as `key=a,b`.

        A key alone asks about a choice of two values. Raises `UsageError` with what would do.
        """
        with briefly(store, name) as study:
            config = study_config(study)
        asked, given, listed = text.partition("=")
        key = _key(config, asked)
        dimension, short = config.space[key], config.short_name(key)
        if given:
            values = parse_assignments([f"{key}=[{listed}]"])[key]
        elif isinstance(dimension, Choices):
            values = list(dimension.stored.values())
        else:
            raise UsageError(
                f"{short} has a range; name the two values to compare, as in {short}="
                f"{plain(dimension.low)},{plain(dimension.high)}"
            )
        if len(values) != 2:
            raise UsageError(
                f"a question compares two values, but {short} has {len(values)} here; name two, as "
                f"in {short}=A,B"
            )
        first, second = (get_dotted(override(config.base, {key: it}, text), key) for it in values)
        if first == second:
            raise UsageError(f"a question compares two values, but {text} names one value twice")
        return cls(name, key, (values[0], values[1]), pairs, epochs)


def _key(config: StudyConfig, asked: str) -> str:
    shorts = {config.short_name(key): key for key in config.space}
    if asked in config.space:
        return asked
    if asked in shorts:
        return shorts[asked]
    begun = [key for short, key in shorts.items() if asked and short.startswith(asked)]
    if len(begun) != 1:
        hint = nearest(asked, [*config.space, *shorts])
        raise UsageError(
            f"'{asked}' is not searched in '{config.study.name}', which searches "
            f"{', '.join(shorts)}{hint}"
        )
    return begun[0]


def next_pairs(store: Store, question: Question, at_once: int = 1) -> StudyConfig | None:
    """The config of the study that runs the next pairs; None once the question is over.

    It also runs what is unfinished, and tries again what failed. `at_once` pairs begin together.

    Raises:
        UnknownStudyError: there is no such study.
        StudyError: it has no complete trial, or scores that are not positive.
        UsageError: the question was begun with other values, with trainings of another length, of
            another study of that name, or with another number of pairs at which it ends.
    """
    with briefly(store, question.name) as study:
        return _next_pairs(store, question, at_once, study)


def _next_pairs(store: Store, question: Question, at_once: int, study: Study) -> StudyConfig | None:
    so_far, failed = _begun(store, question, study)
    asked = Asked.read(study, question.key)
    if asked and asked.is_over():
        return None
    most = asked.most if asked else question.pairs or USUAL_PAIRS
    planned, added = asked.planned if asked else 0, list[Baseline]()
    if asked is None or len(asked.pairs) == planned:
        contexts = _good(study, question.key)
        earlier = study_config(study)
        for number in range(planned, min(planned + at_once, most)):
            context = contexts[number % len(contexts)]
            added += _pair(earlier, question, context, number, most)
    baselines = [*(so_far.baselines if so_far else ()), *added]
    return _config(study_config(study), question, so_far, baselines, failed)


def _begun(store: Store, question: Question, study: Study) -> tuple[StudyConfig | None, int]:
    """The config of the pairs so far, and how many of their trainings have failed.

    Raises `UsageError` if it is another question, or one about another study of that name.
    """
    name = name_of_question(question.name, question.key)
    config, failed = begun(store, name)
    if config and not repeats_trials_of(study, config, StudyConfig.short_name(question.key)):
        raise UsageError(OTHER_STUDY.format(repeats=name, study=question.name))
    if config:
        dimension, epochs = config.space[question.key], config.base.train.epochs
        assert isinstance(dimension, Choices)
        before = list(dimension.stored.values())
        anew = f"begin anew after 'study delete {name}'"
        if before != [plain_value(value) for value in question.values]:
            raise UsageError(
                f"{question.key} was asked about {before[0]} and {before[1]} before; ask that "
                f"again, or {anew}"
            )
        if question.epochs not in (None, epochs):
            raise UsageError(
                f"--epochs {question.epochs}: this was begun with trainings of {epochs} epochs; "
                f"leave --epochs out, or {anew}"
            )
        if question.pairs not in (None, most := most_pairs(config)):
            raise UsageError(
                f"--pairs {question.pairs}: this was begun to end after {most} pairs, for which "
                f"its error rate holds; leave --pairs out, or {anew}"
            )
    return config, failed


def _good(study: Study, key: str) -> list[TrialResult]:
    """The best trials, of which no two differ in the key alone. Raises `StudyError` without any.

    Complete ones come first, then those that were stopped for their score or wait on a rung, the
    ones that trained longest first.
    """
    ended = (TrialState.COMPLETE, TrialState.PRUNED)
    scored = [
        it
        for it in summaries_of(study)
        if it.state in ended and it.score is not None and not it.has_collapsed
    ]
    if any(it.score is not None and it.score <= 0 for it in scored):
        raise StudyError(NOT_POSITIVE.format(study.study_name))
    if not any(it.state == TrialState.COMPLETE for it in scored):
        raise StudyError(
            f"the study '{study.study_name}' has no complete trial yet; let it run longer"
        )
    trained = {it.number: 0 if it.state == TrialState.COMPLETE else it.epoch or 0 for it in scored}
    scored.sort(
        key=lambda it: (it.state != TrialState.COMPLETE, -trained[it.number], it.score, it.number)
    )
    short, found = StudyConfig.short_name(key), list[TrialResult]()
    for row in scored:
        others = {name: value for name, value in row.params.items() if name != short}
        if others not in [{k: v for k, v in it.params.items() if k != short} for it in found]:
            found.append(row)
    return found[: max(FEWEST_GOOD, round(GOOD * len(scored)))]


def _pair(
    earlier: StudyConfig, question: Question, context: TrialResult, number: int, most: int
) -> list[Baseline]:
    """Both trainings of a pair, counted from 0, of at most so many."""
    seed = derive_seed(earlier.study.seed, "ask", question.key, number) % 2**32
    source = Repeated(study=question.name, trial=context.number, pairs=most)
    short, params = StudyConfig.short_name(question.key), params_here(earlier, earlier, context)
    return [
        Baseline(
            name=f"{short} {value}, {trial_name(context.number)}, pair {number + 1}"[
                -BASELINE_NAME_LENGTH:
            ],
            params=params | {question.key: plain_value(value)},
            seed=seed,
            repeats=source,
        )
        for value in question.values
    ]


def _config(
    earlier: StudyConfig,
    question: Question,
    so_far: StudyConfig | None,
    baselines: Sequence[Baseline],
    failed: int,
) -> StudyConfig:
    space = earlier.model_dump(mode="json")["space"]
    choices = [plain_value(value) for value in question.values]
    space[question.key] = {"type": "categorical", "choices": choices}
    changes: dict[str, Any] = {"space": space}
    if so_far is None and question.epochs is not None:
        changes["base.train.epochs"] = question.epochs
    name = name_of_question(question.name, question.key)
    return derived(so_far or earlier, name, baselines, failed, changes)
