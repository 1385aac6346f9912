"""Whether the share of recognised images can be an objective: asked before a study is created."""

from __future__ import annotations

from dcgan.config.train_config import TrainConfig
from dcgan.data.bank import PhotoBank
from dcgan.errors import ConfigError
from dcgan.evaluation.evaluator import configured_extractor, seen_in
from dcgan.evaluation.metrics.recognised import why_not_given
from dcgan.runtime.devices import resolve_device


def check_recognisable(config: TrainConfig, bank: PhotoBank) -> None:
    """Refuse `objective.recognised` where evaluations will not give the share.

    Raises `ConfigError` if the extractor is no classifier, or hardly recognises the training
    photos, and other `DcganError`s if it cannot be loaded.
    """
    extractor = configured_extractor(config, resolve_device(config.train.device))
    photos, _ = bank.split(config.data.holdout_fraction)
    _, classes = seen_in(photos, extractor)
    if classes is None:
        raise ConfigError(
            f"objective.recognised needs a classifier, which the extractor '{extractor.name}' is "
            "not; choose one with --set eval.extractor=joint, or leave objective.recognised out"
        )
    if reason := why_not_given(classes):
        raise ConfigError(f"objective.recognised cannot be used: {reason}; leave it out")
