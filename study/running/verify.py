"""Trains an exported config again and compares its scores with those that were promised."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dcgan.config.settings import load_train_config, override
from dcgan.config.train_config import TrainConfig
from dcgan.data.bank import PhotoBank
from dcgan.errors import TrainingDivergedError, UsageError
from dcgan.evaluation.extractors.base import Extractor
from dcgan.runtime.seeds import derive_seed
from dcgan.training.loop import train
from study.config.identity import check_fingerprints
from study.config.study_config import ObjectiveConfig
from study.evidence.promise import Promise
from study.search.objective import rank_of, score_of


@dataclass(frozen=True)
class Verification:
    """An exported config that says what it is expected to score."""

    config: TrainConfig
    """As in the trainings that the promise rests on."""
    promise: Promise
    objective: ObjectiveConfig
    folder: Path
    """Where the trainings go, a folder a seed."""

    @classmethod
    def of(cls, export: Path, settings: dict[str, Any]) -> Verification:
        """Read an export; `settings` are dotted keys that differ on this machine.

        The trainings go into a folder beside it. Raises `UsageError` if it does not say what it is
        expected to score.
        """
        config = load_train_config(export, settings)
        try:
            promise = Promise.from_dict(config.provenance["expected"])
            objective = ObjectiveConfig.model_validate(config.provenance["objective"])
        except (KeyError, ValueError):
            raise UsageError(
                f"{export} does not say what its config is expected to score; export it after "
                "'study confirm'"
            ) from None
        same = {"train.epochs": promise.epochs, "eval.fid_at_end": False}
        config = override(config, same, str(export))
        length = f"{config.provenance.get('trial')}-{promise.epochs}-epochs"
        folder = export.with_name(f"{export.stem}.verify") / length
        return cls(config, promise, objective, folder)

    def check(self, bank: PhotoBank, extractor: Extractor) -> None:
        """Refuse photos or an extractor whose scores would not compare (`StudyMismatchError`)."""
        here = {"data": bank.fingerprint, "extractor": extractor.fingerprint}
        recorded = {what: self.config.provenance.get(f"{what}_fingerprint") for what in here}
        check_fingerprints("the export", recorded, here, "scores compare only with the same")

    def seed(self, place: int) -> int:
        """The seed of a training, by its place from 1."""
        return derive_seed(self.config.train.seed, "verify", place) % 2**32

    def train(self, place: int, **more: Any) -> float | None:
        """Train on a seed, or continue, and return the score; None if the training diverged.

        `more` are further arguments of `dcgan.training.loop.train`.
        """
        config = override(self.config, {"train.seed": self.seed(place)}, "verify")
        folder, rank = self.folder / f"seed-{place}", partial(rank_of, objective=self.objective)
        try:
            result = train(config, folder, resume=True, rank=rank, **more)
        except TrainingDivergedError:
            return None
        return score_of(result.selected, self.objective)
