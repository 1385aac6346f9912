"""Continue a run from its folder with the extractor it began with, or say why that cannot be."""

from __future__ import annotations

from pathlib import Path

import torch

from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig
from dcgan.errors import CheckpointError, UsageError
from dcgan.evaluation.evaluator import configured_extractor
from dcgan.evaluation.extractors.base import Extractor
from dcgan.training.run.checkpoint import Checkpoint, load_checkpoint
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import read_evals


def as_begun(config: TrainConfig, out: Path) -> TrainConfig:
    """The config with the extractor that the run in `out` began with, if `auto` is to continue it.

    What a run is scored by is announced, and its weights fetched, before it goes on.

    Raises:
        CheckpointError: the checkpoint in `out` cannot be read.
    """
    checkpoint = RunFolder(out).checkpoint
    return _begun(config, load_checkpoint(checkpoint)) if checkpoint.exists() else config


def _begun(config: TrainConfig, checkpoint: Checkpoint) -> TrainConfig:
    if config.eval.extractor != "auto":
        return config
    began_with = checkpoint.config.eval.extractor
    return override(config, {"eval.extractor": began_with}, "eval.extractor")


def with_resolved_extractor(
    config: TrainConfig,
    device: torch.device,
    checkpoint: Checkpoint | None,
    extractor: Extractor | None,
) -> tuple[TrainConfig, Extractor]:
    """Replace `auto` by what it means here and now; a continued run keeps what it began with."""
    config = _begun(config, checkpoint) if checkpoint else config
    extractor = extractor or configured_extractor(config, device)
    if config.eval.extractor == "auto":
        config = override(config, {"eval.extractor": extractor.name}, "eval.extractor")
    return config, extractor


def check_same_extractor(folder: RunFolder, extractor: Extractor) -> None:
    """Refuse to continue a history of scores with numbers that cannot be compared with them.

    Raises:
        CheckpointError: another extractor made the last score.
    """
    for record in read_evals(folder.history)[-1:]:
        before = record.extractor_fingerprint or extractor.fingerprint
        if before != extractor.fingerprint:
            raise CheckpointError(
                f"{folder.path} was scored with another extractor ({record.extractor}, "
                f"fingerprint {before[:12]}; now {extractor.name}, {extractor.fingerprint[:12]}); "
                "restore it, or train into another folder"
            )


def open_folder(folder: RunFolder, resume: bool) -> Checkpoint | None:
    """Make the run's folder, or take up the run that is in it.

    Returns:
        The checkpoint to continue from; none at a run's beginning.

    Raises:
        UsageError: the folder holds a run, and `resume` is false.
        CheckpointError: its checkpoint cannot be read.
    """
    folder.create()
    if resume and folder.checkpoint.exists():
        return load_checkpoint(folder.checkpoint)
    if folder.history.exists() or folder.checkpoint.exists():
        if not resume:
            raise UsageError(
                f"{folder.path} already holds a run; continue it with --resume or choose another "
                "folder with --out"
            )
        folder.history.unlink(missing_ok=True)  # it never reached its first checkpoint
    for picture in folder.grids().values():
        picture.unlink()
    return None
