"""A trial, its numbers and a study's standing in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from dcgan.config.settings import get_dotted
from study.config.study_config import StudyConfig
from study.search.objective import is_pareto, trial_score
from study.search.pareto import front_of
from study.storage.store import trial_name

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import Trial

    from dcgan.config.train_config import TrainConfig
    from study.storage.trial_summaries import TrialSummary


def number(value: float | None, digits: int) -> str:
    """A number with fixed digits; empty for none."""
    return "" if value is None else f"{value:.{digits}f}"


def plain(value: Any) -> str:
    """A parameter as a person writes it: four digits are enough to recognise it."""
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def in_words(trial: FrozenTrial) -> str:
    """A trial's score, or its distance and imbalance where these are minimised."""
    facts = trial.user_attrs
    if metric := facts.get("metric"):
        imbalance = facts.get("imbalance")
        known = "unknown" if imbalance is None else f"{imbalance:.2f}"
        return f"{metric} {facts[metric]:.3f}, imbalance {known}"
    score = trial_score(trial)
    return "no score" if score is None else f"score {score:.3f}"


def standing(study: Study, trials: list[TrialSummary]) -> str:
    """How far a study has got: its best score, or how many trials are on its front."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.values]
    if not complete:
        return "no complete trial yet"
    if is_pareto(study):
        count = len(front_of(complete))
        return f"front of {count} trial{'' if count == 1 else 's'}"
    return f"best score {min((trial.values or [])[0] for trial in complete):.3f}"


def describe_trial(config: StudyConfig, trial: Trial, train_config: TrainConfig) -> str:
    """A trial and the searched values it trains with."""
    params = ", ".join(
        f"{config.short_name(key)} {plain(_scalar(get_dotted(train_config, key)))}"
        for key in config.space
    )
    baseline = trial.user_attrs.get("baseline")
    origin = f"baseline “{baseline}”: " if baseline else ""
    return f"{trial_name(trial.number)}: {origin}{params}"


def _scalar(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
