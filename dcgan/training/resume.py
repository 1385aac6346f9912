"""Continue a run from its folder with the extractor it began with, or refuse with a reason."""

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
    """The config with `auto` replaced by the extractor that the run in `out` began with, if any.

    Raises `CheckpointError` if the checkpoint in `out` cannot be read.
    """
    checkpoint = RunFolder(out).checkpoint
    if not checkpoint.exists():
        return config
    return _replace_auto(config, load_checkpoint(checkpoint).config.eval.extractor)


def _replace_auto(config: TrainConfig, name: str) -> TrainConfig:
    if config.eval.extractor != "auto":
        return config
    return override(config, {"eval.extractor": name}, "eval.extractor")


def with_resolved_extractor(
    config: TrainConfig,
    device: torch.device,
    checkpoint: Checkpoint | None,
    extractor: Extractor | None,
) -> tuple[TrainConfig, Extractor]:
    """Replace `auto` by the extractor to use; a continued run keeps the one it began with."""
    if checkpoint:
        config = _replace_auto(config, checkpoint.config.eval.extractor)
    extractor = extractor or configured_extractor(config, device)
    return _replace_auto(config, extractor.name), extractor


def check_same_extractor(folder: RunFolder, extractor: Extractor) -> None:
    """Raise `CheckpointError` if another extractor made the run's last score."""
    for record in read_evals(folder.history)[-1:]:
        before = record.extractor_fingerprint or extractor.fingerprint
        if before != extractor.fingerprint:
            raise CheckpointError(
                f"{folder.path} was scored with another extractor ({record.extractor}, "
                f"fingerprint {before[:12]}; now {extractor.name}, {extractor.fingerprint[:12]}); "
                "restore it, or train into another folder"
            )


def open_folder(folder: RunFolder, resume: bool) -> Checkpoint | None:
    """Make the run's folder; return the checkpoint to continue from, if there is one.

    Raises `UsageError` if the folder holds a run and `resume` is false, and `CheckpointError` if
    the checkpoint cannot be read.
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
        folder.history.unlink(missing_ok=True)  # the run never reached its first checkpoint
    for picture in folder.grids().values():
        picture.unlink()
    return None
