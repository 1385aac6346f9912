"""Which trial is meant: the best, one by its number, or one of the front by a rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from optuna.study import Study
from optuna.trial import TrialState

from dcgan.errors import UsageError
from study.errors import StudyError
from study.results.confirmed import Confirmation
from study.results.wording import in_words
from study.search.objective import has_recognised, is_pareto
from study.search.pareto import front_of
from study.storage.store import trial_name
from study.storage.trial_result import TrialResult
from study.storage.trial_summaries import outcomes_of, summaries_of

RULES: dict[str, Callable[[TrialResult], Any]] = {
    "distance": lambda trial: (trial.values or [])[0],
    "balance": lambda trial: (trial.values or [])[1],
    "score": lambda trial: trial.score,
    "recognised": lambda trial: -(trial.values or [])[2],
}
"""Rules of `--pick`: the trial of the front with the lowest of these. The last one is for studies
with that value. Where two have the same, the nearer one to the photos is taken, then the one with
the lower number: the front's order."""
MOST_LISTED = 20
"""Trials of a front that an error names."""


def pick_trial(study: Study, number: int | None, rule: str | None = None) -> TrialResult:
    """The trial of a number; else the best one, or the one of the front that a rule picks.

    The best one is the leader of `study confirm`, if there is one, else that with the lowest score.
    Raises `UsageError` if there is no such trial with parameters or the rule does not fit the
    study, and `StudyError` if no trial is complete.
    """
    if rule is not None:
        _check_rule(study, number, rule)
    if number is not None:
        return _numbered(study, number)
    if is_pareto(study):
        return _of_front(study, rule)
    confirmed = Confirmation.read(study)
    leader = confirmed.leader if confirmed else None
    return summaries_of(study, {leader.trial})[0] if leader else best_trial(study)


def best_trial(study: Study) -> TrialResult:
    """The complete trial with the lowest score, in a study that minimises a score.

    Raises `StudyError` if no trial is complete.
    """
    complete = [trial for trial in outcomes_of(study) if trial.state == TrialState.COMPLETE]
    if not complete:
        raise _none_complete(study)
    best = min(complete, key=lambda trial: (trial.values, trial.number))
    return summaries_of(study, {best.number})[0]


def _check_rule(study: Study, number: int | None, rule: str) -> None:
    *others, last = _rules_of(study)
    if rule not in RULES:
        raise UsageError(f"--pick must be {', '.join(others)} or {last}, but got '{rule}'")
    if number is not None:
        raise UsageError("--trial and --pick both choose a trial; give one of them")
    if not is_pareto(study):
        raise UsageError(
            f"the study '{study.study_name}' minimises one score and has a best trial, so there is "
            "nothing to --pick from; leave it out, or name a trial with --trial N"
        )
    if rule not in (*others, last):
        raise UsageError(
            f"the study '{study.study_name}' does not maximise the recognised share "
            f"(objective.recognised), so --pick must be {', '.join(others)} or {last}"
        )


def _rules_of(study: Study) -> list[str]:
    return [rule for rule in RULES if rule != "recognised" or has_recognised(study)]


def _numbered(study: Study, number: int) -> TrialResult:
    for trial in summaries_of(study, {number}):
        if trial.params:
            return trial
    raise UsageError(
        f"the study '{study.study_name}' has no trial {number} with parameters; see 'study show "
        f"{study.study_name}'"
    )


def _of_front(study: Study, rule: str | None) -> TrialResult:
    front = front_of(summaries_of(study))
    if not front:
        raise _none_complete(study)
    if rule is not None:
        return min(front, key=RULES[rule])
    listed = [f"{trial_name(trial.number)} ({in_words(trial)})" for trial in front[:MOST_LISTED]]
    if len(front) > MOST_LISTED:
        listed.append(f"{len(front) - MOST_LISTED} more in 'study show {study.study_name}'")
    third = " and maximises the recognised share" if has_recognised(study) else ""
    raise UsageError(
        f"the study '{study.study_name}' minimises distance and imbalance{third}, so it has a "
        f"front and no best trial: {'; '.join(listed)}; name one with --trial N, or a rule with "
        f"--pick {'|'.join(_rules_of(study))}"
    )


def _none_complete(study: Study) -> StudyError:
    return StudyError(
        f"the study '{study.study_name}' has no complete trial yet; let it run longer"
    )
