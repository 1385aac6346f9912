"""In which part of a range trials fail more often than elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

ERROR = 0.05
PARTS = (1 / 4, 1 / 2, 3 / 4)
"""Shares of the trials, by a parameter's value, at which its range is cut in two."""


@dataclass(frozen=True)
class Part:
    """Values of a parameter at which trials fail more often."""

    name: str
    value: Any
    """The choice; of a range the value from which on, or up to which, trials fail."""
    side: str
    """`=`, `≥` or `≤`."""
    failed: int
    trials: int
    failed_elsewhere: int
    trials_elsewhere: int


def failing_parts(
    params: Sequence[Mapping[str, Any]], failed: Sequence[bool], ranges: Sequence[str]
) -> list[Part]:
    """At most one part of each parameter, the surest first.

    Fisher's exact test of each cut; the levels of all cuts together are 5 % (Bonferroni).

    Args:
        params: of each trial.
        failed: which of them failed, collapsed or diverged.
        ranges: names of parameters that have an order; all others are choices.
    """
    cuts = []
    for name in dict.fromkeys(key for values in params for key in values):
        known = [(it[name], bad) for it, bad in zip(params, failed, strict=True) if name in it]
        cuts += list(_cuts(name, known, name in ranges))
    tested = sorted((_p_value(part), index) for index, part in enumerate(cuts))
    found: dict[str, Part] = {}
    for p_value, index in tested:
        if p_value * len(cuts) < ERROR:
            found.setdefault(cuts[index].name, cuts[index])
    return list(found.values())


def _cuts(name: str, known: Sequence[tuple[Any, bool]], ordered: bool) -> list[Part]:
    if not ordered:
        values = dict.fromkeys(value for value, _ in known)
        return [_part(name, value, "=", known) for value in values] if len(values) > 1 else []
    inner = sorted(value for value, _ in known)
    cuts = []
    for share in PARTS:
        at = inner[int(share * len(inner))]
        if at != inner[0]:
            cuts.append(_part(name, at, "≥", known))
            below = max(value for value in inner if value < at)
            cuts.append(_part(name, below, "≤", known))
    return cuts


def _part(name: str, value: Any, side: str, known: Sequence[tuple[Any, bool]]) -> Part:
    def inside(it: Any) -> bool:
        if side == "=":
            return bool(it == value)
        return bool(it >= value if side == "≥" else it <= value)

    here = [bad for it, bad in known if inside(it)]
    elsewhere = [bad for it, bad in known if not inside(it)]
    return Part(name, value, side, sum(here), len(here), sum(elsewhere), len(elsewhere))


def _p_value(part: Part) -> float:
    """That trials fail as often elsewhere, or more often (Fisher's exact test)."""
    table = [
        [part.failed, part.trials - part.failed],
        [part.failed_elsewhere, part.trials_elsewhere - part.failed_elsewhere],
    ]
    return float(stats.fisher_exact(table, alternative="greater").pvalue)
