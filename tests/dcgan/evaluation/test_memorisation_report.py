"""What a report calibrates itself with."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dcgan.config.train_config import DataConfig
from dcgan.data.bank import PhotoBank, load_bank
from dcgan.evaluation.extractors.registry import load_extractor
from dcgan.evaluation.memorisation_report import report_memorisation


@pytest.fixture
def bank() -> PhotoBank:
    return load_bank(DataConfig(source="toy_cats", toy_count=120, image_size=32))


def test_held_out_copies_of_training_photos_are_not_new(bank: PhotoBank) -> None:
    """They would lower both thresholds to 0, and copies would no longer be caught."""
    extractor = load_extractor("random", "cpu")
    photos, holdout = bank.split(0.25)
    assert holdout is not None
    copies = photos.images[:10]
    spoilt = replace(
        holdout,
        images=torch.cat([holdout.images, copies]),
        fingerprint="with copies",
    )
    clean = report_memorisation(copies, photos, extractor, holdout)
    report = report_memorisation(copies, photos, extractor, spoilt)
    for judged, before in ((report.pictures, clean.pictures), (report.features, clean.features)):
        threshold = judged.calibration.threshold
        assert threshold == pytest.approx(before.calibration.threshold, rel=0.25)
        assert judged.fraction == 1.0
