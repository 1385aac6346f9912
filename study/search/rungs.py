"""Budgets in rungs: every trial trains to the first rung, and the best ones go on to the next.

Asynchronous successive halving (Li et al. 2020, "A system for massively parallel hyperparameter
tuning"): a worker that is free takes the best trial that may go on, else a new one. So no worker
waits for a rung to fill. A paused trial goes on from its checkpoint.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise

from optuna.trial import FrozenTrial, TrialState

from study.config.study_config import StudyConfig
from study.storage.trial_result import PAUSED, SAMPLER

ROUNDING = 1e-9
"""So that a third of three is one."""
STUDIES, MOST_PLAYED = 8, 40
"""Studies that a forecast plays through, and their most trials."""
NOISE_OF_RANKS = 0.2
"""Of scores whose worth is uniform over 1: ranks on two rungs then agree at about 0.8."""


@dataclass(frozen=True)
class Rungs:
    """The rungs of a study."""

    epochs: tuple[int, ...]
    """The epoch at which each rung ends, ascending. The last one is a trial's full length."""
    keep: float
    """The share of the proposed trials on a rung that go on to the next."""
    total: int
    """Trials of the study, baselines included."""

    @classmethod
    def of(cls, config: StudyConfig) -> Rungs | None:
        """The rungs of a study; None if every trial has the full budget."""
        budget = config.budget
        return cls(budget.epochs, budget.keep, config.study.trials) if budget.epochs else None

    def ending_at(self, epoch: int) -> int | None:
        """The rung, from 1, that ends at an epoch; None for the last rung, which ends a trial."""
        return self.epochs.index(epoch) + 1 if epoch in self.epochs[:-1] else None

    def quota(self, reached: int, *, more: bool) -> int:
        """How many of the trials that have reached the end of a rung go on.

        `more` says whether other trials may still reach it. Without, at least one goes on.
        """
        return max(int(self.keep * reached + ROUNDING), 0 if more else 1)


@cache
def trials_by_rung(rungs: Rungs, baselines: int) -> tuple[float, ...]:
    """How many trials train on each rung if none ends early, with so many baselines; the mean.

    More than the share that is kept go on, as a worker takes the best by now. So some studies are
    played through, whose scores on a rung say as much of those on the next as on real photos.
    """
    known = min(baselines, rungs.total)
    proposed = rungs.total - known
    some = min(proposed, MOST_PLAYED)
    played = [_played(replace(rungs, total=some), random.Random(seed)) for seed in range(STUDIES)]
    means = [sum(counts) / STUDIES for counts in zip(*played, strict=True)]
    return tuple(known + mean * proposed / max(some, 1) for mean in means)


def _played(rungs: Rungs, rng: random.Random) -> list[int]:
    """How many trials of a study of one worker, without baselines, train on each rung."""
    trials: dict[int, Standing] = {}
    worth = [rng.random() for _ in range(rungs.total)]
    counts = [0] * len(rungs.epochs)
    while True:
        new = len(trials) < rungs.total
        chosen = going_on(list(trials.values()), rungs, new=new)
        if not chosen and not new:
            return counts
        number = chosen[0] if chosen else len(trials)
        before = trials[number].scores if chosen else {}
        rung = len(before) + 1
        counts[rung - 1] += 1
        scores = {**before, rung: worth[number] + rng.gauss(0, NOISE_OF_RANKS)}
        paused = rung if rung < len(rungs.epochs) else None
        trials[number] = Standing(number, paused, over=True, scores=scores)


def epochs_in_all(rungs: Rungs, baselines: int) -> float:
    """Epochs of all trials together; see `trials_by_rung`."""
    lengths = [end - begin for begin, end in pairwise((0, *rungs.epochs))]
    counts = trials_by_rung(rungs, baselines)
    return sum(count * length for count, length in zip(counts, lengths, strict=True))


@dataclass(frozen=True)
class Standing:
    """How far a trial has got."""

    number: int
    paused: int | None
    """The rung, from 1, at whose end it waits; None if it runs or has ended."""
    over: bool
    """Whether it will not train again unless it goes on."""
    scores: Mapping[int, float] = field(default_factory=dict)
    """Rung, from 1 → the score at its end."""
    known: bool = False
    """Whether it is a baseline or the like, which trains to its end and takes no other's place."""

    @classmethod
    def read(cls, trial: FrozenTrial, rungs: Rungs) -> Standing:
        """How far a trial has got by Optuna's object."""
        over = trial.state.is_finished()
        at = enumerate(rungs.epochs, 1)
        reported = trial.intermediate_values
        return cls(
            trial.number,
            trial.user_attrs.get(PAUSED) if trial.state == TrialState.PRUNED else None,
            over,
            {rung: reported[epoch] for rung, epoch in at if epoch in reported},
            trial.user_attrs.get("origin", SAMPLER) != SAMPLER,
        )


def standings(trials: Iterable[FrozenTrial], rungs: Rungs) -> list[Standing]:
    """How far each trial has got."""
    return [Standing.read(trial, rungs) for trial in trials]


def going_on(trials: Sequence[Standing], rungs: Rungs, *, new: bool) -> list[int]:
    """The numbers of the paused trials that may go on by now, the first to go on first.

    The best share of each rung goes on, from the highest rung down. A trial that ended before the
    end of a rung counts as worse than those that reached it. Baselines never wait, and take no
    place on a rung. A study of which no proposed trial is complete goes on as long as one waits.

    Args:
        trials: all trials of the study.
        new: whether a new trial may begin instead.
    """
    chosen = list[int]()
    trials = [trial for trial in trials if not trial.known]
    for rung in range(len(rungs.epochs) - 1, 0, -1):
        best = _ranked(trials, rung)[: _quota(trials, rungs, rung, new=new)]
        chosen += [trial.number for trial in best if trial.paused == rung]
    return chosen or _last_resort(trials, rungs, new=new)


def _last_resort(trials: Sequence[Standing], rungs: Rungs, *, new: bool) -> list[int]:
    """The best trial of the highest rung, if all that went on from there ended before the end."""
    top = max((trial.paused for trial in trials if trial.paused is not None), default=None)
    complete = any(len(rungs.epochs) in trial.scores for trial in trials)
    if top is None or new or complete or not all(trial.over for trial in trials):
        return []
    return [trial.number for trial in _ranked(trials, top) if trial.paused == top][:1]


def out_of_the_race(trials: Sequence[Standing], rungs: Rungs) -> set[int]:
    """Numbers of paused trials that can never go on, whatever the trials to come score.

    While no proposed trial is complete there are none: if all others end early, any may be the last
    resort.
    """
    out, last = set[int](), len(rungs.epochs)
    trials = [trial for trial in trials if not trial.known]
    if not any(last in trial.scores for trial in trials):
        return out
    for rung in range(1, len(rungs.epochs)):
        alive = [
            it for it in _ranked(trials, rung) if not it.over or it.paused or last in it.scores
        ]
        late = alive[rungs.quota(rungs.total, more=False) :]
        out |= {trial.number for trial in late if trial.paused == rung}
    return out


def _ranked(trials: Sequence[Standing], rung: int) -> list[Standing]:
    """Trials that reached the end of a rung, best first."""
    reached = [trial for trial in trials if rung in trial.scores]
    return sorted(reached, key=lambda trial: (trial.scores[rung], trial.number))


def _quota(trials: Sequence[Standing], rungs: Rungs, rung: int, *, new: bool) -> int:
    """How many trials may go on from the end of a rung by now."""
    came = [trial for trial in trials if rung == 1 or rung - 1 in trial.scores]
    if rung > 1:  # of those that reached the rung below, the ones that went on
        came = [trial for trial in came if trial.paused != rung - 1]
    done = [trial for trial in came if rung in trial.scores or (trial.over and not trial.paused)]
    coming = new or any(not trial.over for trial in trials)
    return rungs.quota(len(done), more=coming)
