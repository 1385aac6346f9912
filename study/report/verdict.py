"""A study's outcome in at most three short paragraphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.trial import TrialState

from dcgan.evaluation.record import in_digits
from study.evidence.race import USUAL
from study.storage.store import trial_name
from study.storage.trial_result import TrialResult

MOST_TIES = 4
"""Trials that are named."""


def verdict(
    rows: Sequence[TrialResult], facts: dict[str, Any], spread: float = USUAL.spread
) -> list[str]:
    """At most three paragraphs: which trial is best, how sure that is, what to do next.

    `spread` is the standard deviation of ln(score) between seeds.
    """
    complete = [row for row in rows if row.state == TrialState.COMPLETE]
    if not complete:
        failed = facts["counts"]["FAIL"]
        why = f" {failed} failed; the reasons are below." if failed else ""
        return [f"No trial is complete yet.{why}"]
    if facts["pareto"]:
        front = [row for row in complete if row.front]
        nearest = front[0]
        return [
            f"{len(front)} of {len(complete)} complete trials are on the front: no other trial is "
            "better in every objective.",
            f"The nearest to the photos is {trial_name(nearest.number)}, {_is(nearest)}.",
        ]
    best, count = complete[0], len(complete)
    whole = "The only complete trial" if count == 1 else f"The best of {count} complete trials"
    said = [f"{whole} is {trial_name(best.number)}, {_is(best)}.{_ties(complete, spread)}"]
    if sentence := _beside_baseline(complete):
        said.append(sentence)
    if near := facts["edges"]:
        names = ", ".join(edge.name for edge in near)
        said.append(f"Search on: the best value of {names} is at the end of its range.")
    return said


def _ties(complete: Sequence[TrialResult], spread: float) -> str:
    """The trials that another seed might have put first; empty if there are none."""
    scores = [row.score for row in complete]
    if scores[0] is None or scores[0] <= 0:  # a kernel distance may be below 0
        return ""
    near = [
        trial_name(row.number)
        for row, score in zip(complete[1:], scores[1:], strict=True)
        if score is not None and score <= scores[0] * (1 + spread)
    ]
    if not near:
        return ""
    shown = near if len(near) <= MOST_TIES else [*near[: MOST_TIES - 1], "others"]
    named = shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
    verb = "lies" if len(near) == 1 else "lie"
    return (
        f" But {named} {verb} within {spread:.0%} of it, which is what another seed changes a "
        "score by: a tie, until they are trained with other seeds."
    )


def _beside_baseline(complete: Sequence[TrialResult]) -> str:
    """The best trial beside the best baseline; empty where there is nothing to compare."""
    best = complete[0]
    rival = next((row for row in complete if row.is_baseline), None)
    if rival is None or best.score is None or rival.score is None:
        return ""
    if rival is best:
        searched = any(not row.is_baseline for row in complete)
        found = ": the search has found nothing better" if searched else ""
        return f"It is the baseline “{best.baseline}”{found}."
    against = f"the best baseline, “{rival.baseline}” ({in_digits(rival.score)})"
    luck = (
        "One run of each does not say how much of that is chance: the best of many trials is "
        "partly luck."
    )
    if best.score > 0 and rival.score > 0:  # a kernel distance may be below 0
        return (
            f"Its score is {1 - best.score / rival.score:.0%} lower than that of {against}. {luck}"
        )
    return f"Its score is lower than that of {against}. {luck}"


def _is(row: TrialResult) -> str:
    values = [f"score {in_digits(row.score)}"] if row.score is not None else []
    values += [f"{name} {in_digits(value)}" for name, value in list(row.distances.items())[:1]]
    if "recognised" in row.metrics:
        values.append(f"{row.metrics['recognised']:.1%} of its images recognised")
    return ", ".join(values)
