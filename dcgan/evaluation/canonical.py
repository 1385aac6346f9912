"""The canonical FID of a finished run, beside the distance that it was trained and compared by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from dcgan.config.train_config import TrainConfig
from dcgan.data.bank import PhotoBank
from dcgan.errors import OutOfMemoryError, first_line
from dcgan.evaluation.evaluator import Evaluator
from dcgan.evaluation.extractors.registry import load_extractor
from dcgan.evaluation.extractors.weights import weights_at_hand
from dcgan.models.networks import Generator
from dcgan.runtime.devices import clear_memory_errors


@dataclass(frozen=True)
class Canonical:
    """Distances by Inception, or why there are none."""

    scores: dict[str, float] = field(default_factory=dict)
    """`fid` with `fid_low` and `fid_high` (95 %), `kid` with its standard error."""
    notes: tuple[str, ...] = ()
    """Why there are none; empty if there are, or if none are needed."""


def canonical_fid(
    config: TrainConfig,
    photos: PhotoBank,
    load: Callable[[], Generator],
    device: torch.device,
) -> Canonical:
    """Score `eval.n_samples` images of the generator that `load` gives, in eval mode, by Inception.

    There is nothing to do for a run that Inception scored anyway. Nothing is downloaded. On a CPU
    it takes minutes. What goes wrong becomes a note: a run that has trained for hours does not
    fail for it.
    """
    if config.eval.extractor == "inception":
        return Canonical()
    try:
        if not weights_at_hand(None):
            return _missing("Inception's weights are not on this machine (see 'dcgan doctor')")
        with clear_memory_errors():
            inception = load_extractor("inception", device)
            evaluator = Evaluator(photos, inception, config.eval)
            return Canonical(evaluator.score(load(), in_full=False))
    except OutOfMemoryError:
        return _missing("there is not enough memory for Inception beside the run")
    except Exception as error:
        return _missing(first_line(error))


def _missing(reason: str) -> Canonical:
    return Canonical(notes=(f"fid was not computed: {reason}",))
