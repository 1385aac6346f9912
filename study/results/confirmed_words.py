"""A confirmation in a table and in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dcgan.evaluation.record import in_digits
from study.evidence.promise import Promise
from study.evidence.race import WITHIN, Estimate
from study.results.confirmed import (
    MOST_FORESEEN,
    Candidate,
    Confirmation,
    more_seeds,
    wins,
)
from study.results.wording import percent


def table_of(confirmation: Confirmation) -> list[list[str]]:
    """Headings and one row a candidate with scores, the leader first.

    `above` compares with the leader, `ahead` says on how many of their common seeds it was better.
    """
    leader, *others = confirmation.ranked
    rows = [["trial", "seeds", "score", "95 %", "above", "ahead", "best", "searched", "origin"]]
    for candidate in (leader, *others):
        expected = confirmation.expected(candidate)
        above = "" if candidate is leader else _percent(confirmation.beyond(candidate, leader))
        ahead, both = wins(candidate, leader)
        lost = len(candidate.without_score)
        diverged = f", {lost} diverged" if lost else ""
        rows.append(
            [
                candidate.name,
                f"{len(candidate.scores)}{diverged}",
                in_digits(expected.value),
                f"{in_digits(expected.low)} to {in_digits(expected.high)}",
                above,
                "" if candidate is leader else f"on {ahead} of {both}",
                f"{confirmation.chance(candidate):.0%}",
                "" if candidate.searched is None else in_digits(candidate.searched),
                "baseline" if candidate.baseline else "sampler",
            ]
        )
    return rows


def sentences_of(confirmation: Confirmation) -> list[str]:
    """How the leader stands against the first baseline and the next one, and how sure that is."""
    leader = confirmation.leader
    if leader is None:
        return ["no candidate has scores of two seeds yet"]
    others = [it for it in confirmation.ranked if it is not leader]
    baselines = [it for it in confirmation.scored if it.baseline and it is not leader]
    against = list(dict.fromkeys(it.trial for it in (*baselines[:1], *others[:1])))
    by_trial = {it.trial: it for it in others}
    assert confirmation.standings is not None
    sure = (
        f"{leader.name} is the best or within {WITHIN:.0%} of it with a probability of "
        f"{confirmation.standings.sure:.0%}"
    )
    return [*(_against(confirmation, leader, by_trial[trial]) for trial in against), sure]


def expected_in_words(provenance: Mapping[str, Any]) -> str | None:
    """What the record of an exported config says of its expected score; None without any."""
    if differ := provenance.get("confirmed_with_other"):
        return (
            "what it is expected to score is not known: it was confirmed with another "
            f"{', '.join(differ)}"
        )
    try:
        promise = Promise.from_dict(provenance["expected"])
    except (KeyError, ValueError):
        return None
    score, low, high = map(in_digits, (promise.score, promise.low, promise.high))
    return (
        f"confirmed on {promise.seeds} seeds: expected score {score} (95 %: {low} to {high}) after "
        f"{promise.epochs} epochs"
    )


def _against(confirmation: Confirmation, leader: Candidate, other: Candidate) -> str:
    ratio = confirmation.beyond(leader, other)
    won, both = wins(leader, other)
    if ratio.high < 1:
        better, least, most = (f"{1 - it:.0%}" for it in (ratio.value, ratio.high, ratio.low))
        return (
            f"{leader.name} beats {other.name}: its score is lower by {better} (95 %: {least} to "
            f"{most}), and lower on {won} of {both} seeds"
        )
    more = more_seeds(ratio, min(len(leader.scores), len(other.scores)))
    tell = f"more than {MOST_FORESEEN} seeds" if more is None else f"about {more} more seed"
    tell += "s" * (more is not None and more != 1)
    return (
        f"{leader.name} and {other.name} are tied: the score of {leader.name} differs by "
        f"{_percent(ratio)}, and is lower on {won} of {both} seeds; {tell} would tell"
    )


def _percent(ratio: Estimate) -> str:
    """A ratio as a change, with its interval."""
    value, low, high = (percent(it - 1) for it in ratio)
    return f"{value} (95 %: {low} to {high})"
