"""Ends a study early when the trials that are left promise less than another seed would change."""

from __future__ import annotations

import math

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from study.config.study_config import StudyConfig
from study.evidence.gain import SURE, possible_gain
from study.search.noise import noise_between_seeds
from study.storage.trial_result import SAMPLER


def why_to_end(study: Study, config: StudyConfig) -> str | None:
    """Why no further trial is worth its time, in words; None while one may be.

    With rungs the scores at the end of the first one are compared, which all trials reach, else
    those of complete trials.
    """
    trials = study.get_trials(deepcopy=False)
    more = config.study.trials - len(trials)
    epoch = config.budget.epochs[0] if config.budget.epochs else config.base.train.epochs
    known = {it.number: score for it in trials if (score := _score(it, config, epoch))}
    proposed = [it.number for it in trials if it.user_attrs.get("origin", SAMPLER) == SAMPLER]
    if more < 1 or not known:
        return None
    scores = [known[number] for number in proposed if number in known]
    gain = possible_gain(scores, min(known.values()), more)
    spread = noise_between_seeds(study, epoch, config.noise.assumed).spread
    if gain is None or gain >= spread:
        return None
    lower, s = 1 - math.exp(-gain), "s" * (more != 1)
    return (
        f"{more} more trial{s} would lower the best score by {lower:.0%} at most (with {SURE:.0%} "
        f"probability), and another seed changes a score by {spread:.0%}"
    )


def _score(trial: FrozenTrial, config: StudyConfig, epoch: int) -> float | None:
    if config.budget.epochs:
        return trial.intermediate_values.get(epoch)
    return trial.values[0] if trial.state == TrialState.COMPLETE and trial.values else None
