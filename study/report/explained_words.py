"""What a study's trials say of the search itself, in sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import astuple

from study.config.dimensions import plain
from study.evidence.agreement import ENOUGH, Interval
from study.evidence.failing import Part
from study.report.explained import Explained
from study.storage.store import trial_name

HALF_CHANCE = 0.5
"""Below this reliability the order of the trials is chance for the larger part."""
LONG_ENOUGH = 0.5
"""A rank correlation with the full run from which on the trials choose well."""
AGREES = 0.9
"""A rank correlation with the end from which on an epoch says nearly as much."""


def lines_of(it: Explained) -> Iterator[str]:
    """One line or more on each subject."""
    if it.compared < ENOUGH:
        yield (
            f"they are too few for importance, agreement and correlation: {ENOUGH} are needed; let "
            "the study run longer (--trials)"
        )
    elif it.complete < ENOUGH:
        yield (
            f"{it.complete} complete trials are too few for agreement and correlation: {ENOUGH} "
            "are needed"
        )
    yield from _parameters(it)
    yield from beside_tables(it)
    if it.balance:
        meaning = "says something" if it.balance.low * it.balance.high > 0 else "says nothing"
        told = f"{meaning} about the distance here: {_rho(it.balance)}"
        yield f"balance: the imbalance of G and D {told}"


def beside_tables(it: Explained) -> Iterator[str]:
    """What a report shows in no table and no chart."""
    yield from map(_failing, it.failing)
    yield from _variance(it)
    yield from _budget(it)
    yield from _audit(it)
    yield from _others(it)


def lines_on(it: Explained, subject: str) -> list[str]:
    """What is known of a subject of `SUBJECTS`, or that it takes more trials."""
    told = list(SUBJECTS[subject](it))
    if told:
        return told
    if it.complete < ENOUGH:
        return [
            f"{it.complete} complete trials of '{it.study}' are too few to say; {ENOUGH} are needed"
        ]
    return [NOTHING[subject]]


def _parameters(it: Explained) -> Iterator[str]:
    above = {name: share for name, share in it.importance.items() if share.above_chance}
    for name, share in above.items():
        limits = f"{share.low:.0%} to {share.high:.0%}, chance {share.chance:.0%}"
        yield f"{name} matters: it explains {share.share:.0%} of the variance ({limits})"
    if it.no_effect_seen:
        yield f"no effect seen of: {', '.join(it.no_effect_seen)}"
    for edge in it.edges:
        low, high = map(plain, edge.proposal)
        yield (
            f"{edge.name}: the best value, {plain(edge.value)}, is at the end of its range; search "
            f"{low} to {high}"
        )


def _failing(part: Part) -> str:
    return (
        f"trials fail where {part.name} {part.side} {plain(part.value)}: {part.failed} of "
        f"{part.trials}, elsewhere {part.failed_elsewhere} of {part.trials_elsewhere}"
    )


def _variance(it: Explained) -> Iterator[str]:
    found = it.variance
    if found is None:
        return
    known = f"measured on {it.repeated} repeated trainings" if it.repeated else "an assumption"
    spreads = (found.total, found.seed, found.checkpoint, found.sampling)
    total, seed, checkpoint, sampling = (f"{value**0.5:.0%}" for value in spreads)
    yield (
        f"scores of the trials differ by {total} (standard deviation); seeds alone by {seed} "
        f"({known}), one evaluation from the next by {checkpoint}, samples of images by {sampling}"
    )
    less = "less than half of their order is due to the configs: confirm before you believe it"
    more = "of that variance is due to the configs"
    share = found.reliability
    yield f"so {share:.0%} {more}" + (f"; {less}" if share < HALF_CHANCE else "")
    if it.winner:
        yield it.winner.describe()


def _ladder(it: Explained) -> Iterator[str]:
    if not it.ladder:
        return
    *before, last = it.ladder
    shown = before if len(before) <= 6 else before[:: max(1, len(before) // 6)]
    steps = ", ".join(f"{step.correlation.value:.2f} at epoch {step.epoch}" for step in shown)
    yield f"ladder: the order of the trials agrees with that at epoch {last.epoch}: {steps}"
    early = next((step for step in before if step.correlation.low >= AGREES), None)
    if early:
        yield f"epoch {early.epoch} says nearly as much as the end; shorter trials would do"


def _full_run(it: Explained) -> Iterator[str]:
    found = it.full_run
    if found is None:
        return
    first, last = found.steps[0], found.steps[-1]
    shown = [first, found.steps[len(found.steps) // 2], last]
    steps = ", ".join(
        f"{_rho(step.correlation)} at epoch {step.epoch}" for step in dict.fromkeys(shown)
    )
    yield (
        f"confirmed: the order of {found.configs} configs, trained for {found.epochs} epochs on "
        f"{found.seeds} seeds or more, agrees with theirs in the search: {steps}"
    )
    if found.epochs < last.epoch:  # they say nothing of what comes after a trial's end
        return
    if last.correlation.low >= LONG_ENOUGH:
        yield "so the trials are long enough to choose by"
    elif last.correlation.high < AGREES:
        yield "so longer trials would choose better"
    else:
        yield "that does not tell whether the trials are long enough; more configs would (--top)"


def _budget(it: Explained) -> Iterator[str]:
    yield from _ladder(it)
    yield from _full_run(it)


def _audit(it: Explained) -> Iterator[str]:
    if it.audit is None:
        return
    trials, better, ahead = it.audit.trials, it.audit.better, it.audit.ahead
    s = "s" * (trials != 1)
    ended = f"{better or 'none'} ended better than all others, {ahead or 'none'} in the better half"
    yield (
        f"pruning: {trials} trial{s} that the pruner would have stopped trained on (pruner.audit): "
        f"{ended}; so it loses the winner in at most {it.audit.at_most:.0%} of such cases (95 %)"
    )


def _rho(interval: Interval) -> str:
    value, low, high = (f"{it:+.2f}".replace("-", "−") for it in astuple(interval))
    return f"ρ = {value} (95 %: {low} to {high})"


def _others(it: Explained) -> Iterator[str]:
    for other in it.others:
        best = "the same trial" if other.best == it.best else trial_name(other.best)
        yield f"by {other.name}: {_rho(other.correlation)} with the score's order; best: {best}"
    if disagree := it.bests:
        numbers = ",".join(map(str, disagree))
        yield f"look at their samples: study compare {it.study} --trials {numbers}"


SUBJECTS: dict[str, Callable[[Explained], Iterator[str]]] = {"metric": _others, "budget": _budget}
"""Questions that the trials answer as they are: would another metric choose another trial, and
would shorter trials have done?"""
NOTHING = {
    "metric": "no other metric is recorded, so there is no other order to compare with",
    "budget": "the trials have one score each, so there is no earlier order to compare with",
}
