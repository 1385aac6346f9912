"""A trial, its numbers and a study's standing in words."""

from __future__ import annotations

from optuna.study import Study
from optuna.trial import TrialState

from dcgan.config.settings import get_dotted
from dcgan.config.train_config import TrainConfig
from dcgan.evaluation.record import in_digits
from study.config.dimensions import plain, plain_value
from study.config.study_config import StudyConfig
from study.search.objective import is_pareto
from study.search.pareto import front_of
from study.storage.store import trial_name
from study.storage.trial_record import TrialRecord
from study.storage.trial_result import EXTENDED, REPEATED, TrialResult


def number(value: float | None, digits: int) -> str:
    """A number with fixed digits; empty for `None`."""
    return "" if value is None else f"{value:.{digits}f}"


def percent(change: float) -> str:
    """A relative change with its sign."""
    return f"{change:+.0%}".replace("-", "−")


def recognised_in_words(share: float) -> str:
    """The share of recognised images, given as a fraction."""
    return f"{share:.1%} recognised"


def in_words(trial: TrialResult) -> str:
    """A trial's score, or the values of its objectives where there are several."""
    if trial.metric:
        known = number(trial.imbalance, 2) or "unknown"
        shares = "".join(f", {recognised_in_words(share)}" for share in (trial.values or [])[2:])
        return (
            f"{trial.metric} {in_digits(trial.distances[trial.metric])}, imbalance {known}{shares}"
        )
    return "no score" if trial.score is None else f"score {in_digits(trial.score)}"


def standing(study: Study, trials: list[TrialResult]) -> str:
    """How far a study has got: its best score, or how many trials are on its front."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.values]
    if not complete:
        return "no complete trial yet"
    if is_pareto(study):
        count = len(front_of(complete))
        return f"front of {count} trial{'' if count == 1 else 's'}"
    return f"best score {in_digits(min((trial.values or [])[0] for trial in complete))}"


def describe_trial(config: StudyConfig, trial: TrialRecord, train_config: TrainConfig) -> str:
    """A trial and the searched values it trains with."""
    params = ", ".join(
        f"{config.short_name(key)} {plain(plain_value(get_dotted(train_config, key)))}"
        for key in config.space
    )
    what = {EXTENDED: "continues", REPEATED: "repeats"}.get(trial.origin, "baseline")
    origin = f"{what} “{trial.baseline}”: " if trial.baseline else ""
    return f"{trial_name(trial.number)}: {origin}{params}"
