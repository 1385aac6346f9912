"""Where rungs end: images of a budget become epochs of the photos at hand."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from dcgan.config.settings import override
from dcgan.errors import ConfigError
from study.config.study_config import StudyConfig


def with_rungs(config: StudyConfig, photos: int) -> StudyConfig:
    """A config whose rungs, if it has any, are in epochs of so many photos.

    A trial's full length is that of the last rung. Raises `ConfigError` if two rungs would end at
    the same score.
    """
    if not config.budget.images:
        return config
    images, every = config.budget.images, config.base.eval.every_epochs
    epochs = _rung_ends(images, photos, every)
    if not _ascend(epochs):
        named = ", ".join(f"{count:,}" for count in images)
        ends = ", ".join(map(str, epochs))
        fits = [few for few in range(1, every) if _ascend(_rung_ends(images, photos, few))]
        # The rungs that are least beyond their images, with the fewest scores.
        few = min(fits, key=lambda it: (sum(_rung_ends(images, photos, it)), -it), default=0)
        advice = f"set base.eval.every_epochs to {few}" if few else "set them further apart"
        raise ConfigError(
            f"budget.images: with {photos:,} photos and a score every {every} epochs, rungs of "
            f"{named} images end at the epochs {ends}, which must ascend; {advice}"
        )
    settings = {"budget.epochs": list(epochs), "base.train.epochs": epochs[-1]}
    return override(config, settings, "budget")


def _rung_ends(images: Sequence[int], photos: int, every_epochs: int) -> tuple[int, ...]:
    """Epochs: of the first score at or after the images of a rung; the last rung ends anywhere."""
    *rungs, whole = (-(-count // photos) for count in images)
    return (*(-(-epoch // every_epochs) * every_epochs for epoch in rungs), whole)


def _ascend(epochs: Sequence[int]) -> bool:
    return all(low < high for low, high in pairwise(epochs))
