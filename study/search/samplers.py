"""What proposes trials, built from the study's config."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial, TrialState

from dcgan.runtime.seeds import derive_seed
from study.config.study_config import SamplerConfig
from study.storage.optuna_db import share_search_space

if TYPE_CHECKING:
    from optuna.study import Study


class SeededSampler(BaseSampler):
    """A sampler reseeded for every trial from (study seed, trial number).

    What a trial gets proposed depends on the trials before it, not on which process or which
    launch asks.
    """

    def __init__(self, config: SamplerConfig, seed: int) -> None:
        self.config = config
        self.seed = seed
        self.space = IntersectionSearchSpace(include_pruned=True)
        self.inner = self._seeded(0)

    def _seeded(self, number: int) -> BaseSampler:
        seed = derive_seed(self.seed, "sampler", number) % 2**32
        if self.config.name == "random":
            return RandomSampler(seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            sampler = TPESampler(
                n_startup_trials=self.config.startup_trials,
                multivariate=True,
                constant_liar=True,
                seed=seed,
            )
        share_search_space(sampler, self.space)
        return sampler

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Reseed for this trial."""
        self.inner = self._seeded(trial.number)
        self.inner.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """As the inner sampler does."""
        return self.inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As the inner sampler does."""
        return self.inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """As the inner sampler does."""
        return self.inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """As the inner sampler does."""
        self.inner.after_trial(study, trial, state, values)
