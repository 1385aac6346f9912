"""Why each trial of a study ended as it did: one sentence with the numbers that say so."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from dcgan.evaluation.record import in_digits
from study.config.study_config import StudyConfig
from study.results.wording import percent
from study.search.noise import scores_of
from study.search.objective import penalised_score
from study.search.rungs import Rungs, standings
from study.storage.attributes import study_config
from study.storage.trial_result import (
    DOOMED,
    HOPELESS,
    PAUSED,
    REASON,
    REVIVED,
    SAMPLER,
)

LATE = 2 / 3
"""The part of a training after which its score is called falling, level or rising."""
LEVEL = 0.05
"""A relative change of the score below this is none."""
LEAST_SHOWN = 0.005
"""A penalty below this share would be printed as 0 %."""
WORSE = 0.1
"""A score that is higher by this share than the trial's best has got worse."""


def autopsies(study: Study) -> dict[int, str]:
    """A sentence on each trial, by number. Raises `StudyError` for a study that has not begun."""
    config, trials = study_config(study), study.get_trials(deepcopy=False)
    complete = sorted(
        (it for it in trials if it.state == TrialState.COMPLETE and it.values),
        key=lambda it: (it.values[0], it.number),
    )
    places = {trial.number: place for place, trial in enumerate(complete, 1)}
    rungs = Rungs.of(config)
    reached = _reached(trials, rungs) if rungs else {}
    told = {}
    for trial in trials:
        if trial.number in places:
            parts = _complete(trial, config, complete, places[trial.number])
        elif trial.state == TrialState.PRUNED and trial.user_attrs.get(PAUSED) and rungs:
            parts = _paused(trial, rungs, reached)
        else:
            parts = _other(trial)
        told[trial.number] = "; ".join(parts)
    return told


def _complete(
    trial: FrozenTrial, config: StudyConfig, complete: Sequence[FrozenTrial], place: int
) -> Iterator[str]:
    value, curve = trial.values[0], scores_of(trial)
    what = "score" if config.objective.mode == "score" else "distance"
    yield f"{what} {in_digits(value)}, {_ordinal(place)} of {len(complete)} complete trials"
    best = complete[0]
    if best is not trial and best.values[0] > 0:
        yield f"{percent(value / best.values[0] - 1)} against trial {best.number}"
    yield from trend(curve)
    yield from _balance(trial, config)
    if (epoch := trial.user_attrs.get(DOOMED)) is not None:
        yield f"the pruner would have stopped it at epoch {epoch}"
    if trial.user_attrs.get(REVIVED):
        yield "it was stopped, and revived"


def trend(curve: Mapping[int, float]) -> Iterator[str]:
    """How the score went in the last third of a training, and whether it had been better before.

    Nothing for less than three scores, or a score that is not positive.
    """
    if len(curve) < 3 or min(curve.values()) <= 0:
        return
    last, best = max(curve), min(curve, key=lambda epoch: (curve[epoch], epoch))
    then = max((epoch for epoch in curve if epoch <= LATE * last), default=min(curve))
    change = curve[last] / curve[then] - 1
    if curve[last] > (1 + WORSE) * curve[best]:
        yield f"{percent(curve[last] / curve[best] - 1)} since its best at epoch {best}"
    elif change < -LEVEL:
        yield f"still falling: {percent(change)} since epoch {then}"
    elif change > LEVEL:
        yield f"rising: {percent(change)} since epoch {then}"
    else:
        yield f"level since epoch {then} ({percent(change)})"


def _balance(trial: FrozenTrial, config: StudyConfig) -> Iterator[str]:
    imbalance, objective = trial.user_attrs.get("imbalance"), config.objective
    if imbalance is None or imbalance <= objective.tolerance or objective.mode != "score":
        return
    limits = {"tolerance": objective.tolerance, "weight": objective.weight, "cap": objective.cap}
    raised = penalised_score(1.0, imbalance, **limits) - 1
    if raised >= LEAST_SHOWN:
        yield f"imbalance {imbalance:.1f} raised its score by {raised:.0%}"


class _Reached(NamedTuple):
    """Trials of the sampler that reached the end of a rung; the others do not wait on rungs."""

    scores: list[float]
    """Ascending."""
    further: list[float]
    """Of those that went on by now."""


def _reached(trials: Sequence[FrozenTrial], rungs: Rungs) -> dict[int, _Reached]:
    """Rung, from 1 → the trials that reached its end."""
    proposed = [it for it in trials if it.user_attrs.get("origin", SAMPLER) == SAMPLER]
    found: dict[int, _Reached] = {}
    for standing in standings(proposed, rungs):
        for rung, score in standing.scores.items():
            here = found.setdefault(rung, _Reached([], []))
            here.scores.append(score)
            if standing.paused != rung:
                here.further.append(score)
    for here in found.values():
        here.scores.sort()
    return found


def _paused(trial: FrozenTrial, rungs: Rungs, reached: Mapping[int, _Reached]) -> Iterator[str]:
    rung: int = trial.user_attrs[PAUSED]
    epoch = rungs.epochs[rung - 1]
    score = trial.intermediate_values.get(epoch)
    if score is None or rung not in reached:
        yield f"waits on rung {rung} of {len(rungs.epochs)}"
        return
    scores, further = reached[rung]
    place, gone = _ordinal(1 + bisect_left(scores, score)), len(further)
    yield (
        f"waits on rung {rung} of {len(rungs.epochs)}: score {in_digits(score)} at epoch {epoch}, "
        f"{place} of the {len(scores)} proposed trials there, {gone} of which went on by now"
    )
    if further:
        yield f"the worst of these had {in_digits(max(further))}"


def _other(trial: FrozenTrial) -> Iterator[str]:
    reason, curve = trial.user_attrs.get(REASON), scores_of(trial)
    if trial.state == TrialState.RUNNING:
        yield f"is training, last score at epoch {max(curve)}" if curve else "is training"
    elif trial.state == TrialState.WAITING:
        yield f"waits to go on: {reason}" if reason else "waits to begin"
    else:
        yield str(reason or "ended without a reason")
        if curve and not str(reason).startswith(HOPELESS):
            best = min(curve, key=lambda epoch: (curve[epoch], epoch))
            yield f"its best score was {in_digits(curve[best])} at epoch {best}"


def _ordinal(place: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th."""
    teen = place % 100 in (11, 12, 13)
    return f"{place}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(place % 10, 'th')}"
