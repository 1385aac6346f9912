"""The pairs of a question in a table, and the answer in a sentence."""

from __future__ import annotations

import math

from dcgan.evaluation.record import in_digits
from study.config.dimensions import plain
from study.config.study_config import StudyConfig
from study.evidence.paired import MOST_FORESEEN, Verdict
from study.results.asked import Asked
from study.results.repeated import Training
from study.results.wording import percent
from study.storage.store import trial_name


def table_of(asked: Asked) -> list[list[str]]:
    """Headings and one row a pair."""
    short = StudyConfig.short_name(asked.key)
    first, second = (f"{short} {plain(value)}" for value in asked.values)
    rows = [["trial", first, second, "change"]]
    for pair in asked.pairs:
        change = percent(math.expm1(pair.difference))
        scores = (_shown(pair.without), _shown(pair.with_it))
        rows.append([trial_name(pair.trial), *scores, change])
    return rows


def answer_in_words(asked: Asked) -> str:
    """The answer after these pairs."""
    change = asked.change()
    if change is None:
        return "all trainings collapsed" if asked.pairs else "no pair of trainings has ended yet"
    first, second = map(plain, asked.values)
    what = f"{StudyConfig.short_name(asked.key)} {second} instead of {first}"
    lower = f"a lower score in {change.wins} of {change.pairs} pairs of {asked.epochs} epochs"
    if not math.isfinite(change.high):
        return f"{what}: undecided, {percent(change.change)}, {lower}"
    numbers = f"{percent(change.change)} (95 %: {percent(change.low)} to {percent(change.high)})"
    match change.verdict:
        case Verdict.HELPS | Verdict.HURTS:
            return f"{what} {change.verdict}: it changes the score by {numbers}, {lower}"
        case Verdict.ALIKE:
            return f"{what} makes {change.verdict}: {numbers}, {lower}"
    more = f"more than {MOST_FORESEEN}" if change.more is None else f"about {change.more}"
    s = "s" * (change.more != 1)
    return f"{what}: undecided, {numbers}, {lower}; {more} more pair{s} would tell"


def _shown(training: Training) -> str:
    return in_digits(training.score) + (", collapsed" if training.collapsed else "")
