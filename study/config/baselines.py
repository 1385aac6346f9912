"""Known configs that a study tries first, and trials of earlier studies that train again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import Field

from dcgan.config.train_config import Section
from dcgan.runtime.seeds import derive_seed

BASELINE_NAME_LENGTH = 100


class Continued(Section):
    """A trial of an earlier study of the same results folder."""

    study: str
    """The study's name."""
    trial: int = Field(ge=0)
    """The trial's number."""
    epochs: int = Field(0, ge=0)
    """How many it has trained."""
    baseline: str | None = None
    """Its name there if it was a baseline, which it stays."""


class Repeated(Section):
    """A trial of an earlier study of the same results folder."""

    study: str
    """The study's name."""
    trial: int = Field(ge=0)
    """The trial's number."""
    baseline: str | None = None
    """Its name there if it was a baseline, which it stays."""
    pairs: int | None = None
    """Pairs at which the question ends undecided that it is trained for."""


class Baseline(Section):
    """A known configuration that is tried first, never pruned, and marked in every table."""

    name: str = Field(min_length=1, max_length=BASELINE_NAME_LENGTH)
    """Shown in tables and in MLflow."""
    params: dict[str, Any]
    """Values of searched keys (dotted); a key that is left out has its value in `base`."""
    seed: int | None = Field(None, ge=0, lt=2**32)
    """Seed of its training (default: from `study.seed` and the trial's number)."""
    continues: Continued | None = None
    """The trial from whose checkpoint it continues, as `study extend` writes it."""
    repeats: Repeated | None = None
    """The trial that it trains on another seed, as `study confirm` writes it."""

    @property
    def is_known(self) -> bool:
        """Whether it is something known, and no trial that an earlier study's sampler proposed."""
        source = self.continues or self.repeats
        return source is None or source.baseline is not None


def on_seeds(baselines: Iterable[Baseline], seeds: int, study_seed: int) -> list[Baseline]:
    """The baselines, followed by their repetitions on further seeds, `seeds` trainings each.

    One that has a seed, as of a derived study, is not repeated. Baselines get the same seeds.
    """
    first = list(baselines)
    again = [it for it in first if it.seed is None]
    further = [derive_seed(study_seed, "noise", place) % 2**32 for place in range(1, seeds)]
    return first + [
        _on_seed(baseline, place, seed)
        for place, seed in enumerate(further, 2)
        for baseline in again
    ]


def _on_seed(baseline: Baseline, place: int, seed: int) -> Baseline:
    shown = f", seed {place}"
    name = baseline.name[: BASELINE_NAME_LENGTH - len(shown)] + shown
    return baseline.model_copy(update={"name": name, "seed": seed})
