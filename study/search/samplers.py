"""The sampler, which proposes the parameters of trials."""

from __future__ import annotations

import warnings
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study
from optuna.trial import FrozenTrial

from dcgan.runtime.seeds import derive_seed
from study.config.study_config import SamplerConfig, StudyConfig
from study.storage.optuna_db import share_search_space


def sampler_note(config: StudyConfig) -> str | None:
    """A warning if rungs leave the configured sampler little to learn from, else None."""
    sampler = config.sampler
    if not config.budget.images or sampler.name not in ("gp", "cmaes"):
        return None
    return (
        f"sampler.name: {sampler.name} learns from complete trials alone, and with budget.images "
        f"few are; until {sampler.startup_trials} are (sampler.startup_trials) it proposes at "
        "random, so tpe suits rungs better"
    )


class SeededSampler(BaseSampler):
    """A sampler that seeds itself for every trial from (study seed, trial number).

    A proposal depends on the trials before it, not on the process or the launch that asks.
    """

    def __init__(self, config: SamplerConfig, seed: int) -> None:
        self.config = config
        self.seed = seed
        self.space = IntersectionSearchSpace(include_pruned=True)
        self.inner = self._seeded(0)

    def _seeded(self, number: int) -> BaseSampler:
        seed = derive_seed(self.seed, "sampler", number) % 2**32
        by_chance = RandomSampler(seed=seed)
        if self.config.name == "random":
            return by_chance
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return self._guided(seed, by_chance)

    def _guided(self, seed: int, by_chance: BaseSampler) -> BaseSampler:
        startup = self.config.startup_trials
        if self.config.name == "qmc":  # one sequence for the study: its place is in the database
            return QMCSampler(
                scramble=True,
                seed=self.seed % 2**32,
                independent_sampler=by_chance,
                warn_independent_sampling=False,
            )
        if self.config.name == "gp":
            return GPSampler(seed=seed, n_startup_trials=startup, independent_sampler=by_chance)
        if self.config.name == "cmaes":
            return CmaEsSampler(
                seed=seed,
                n_startup_trials=startup,
                independent_sampler=by_chance,
                warn_independent_sampling=False,
                with_margin=True,
            )
        sampler = TPESampler(
            n_startup_trials=startup, multivariate=True, constant_liar=True, seed=seed
        )
        share_search_space(sampler, self.space)
        return sampler

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Seed for this trial."""
        self.inner = self._seeded(trial.number)
        self.inner.before_trial(study, trial)

    # The seeded inner sampler does everything else.

    def infer_relative_search_space(self, *args: Any, **kwargs: Any) -> dict[str, BaseDistribution]:
        return self.inner.infer_relative_search_space(*args, **kwargs)

    def sample_relative(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return self.inner.sample_relative(*args, **kwargs)

    def sample_independent(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner.sample_independent(*args, **kwargs)

    def after_trial(self, *args: Any, **kwargs: Any) -> None:
        self.inner.after_trial(*args, **kwargs)
