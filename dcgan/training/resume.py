"""Continue a run from its folder with the extractor it began with, or refuse with a reason."""

from __future__ import annotations

from pathlib import Path

import torch

from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig
from dcgan.errors import CheckpointError, UsageError
from dcgan.evaluation.evaluator import configured_extractor
from dcgan.evaluation.extractors.base import Extractor
from dcgan.runtime.devices import resolve_device
from dcgan.training.precision import continued
from dcgan.training.run.checkpoint import Checkpoint, load_checkpoint
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import read_evals


def as_begun(config: TrainConfig, out: Path) -> TrainConfig:
    """The config with `auto` replaced by what the run in `out` began with, if there is one.

    Raises `CheckpointError` if the checkpoint in `out` cannot be read.
    """
    checkpoint = RunFolder(out).checkpoint
    return continued_config(config, load_checkpoint(checkpoint)) if checkpoint.exists() else config


def continued_config(config: TrainConfig, checkpoint: Checkpoint) -> TrainConfig:
    """The config with `auto` replaced by the checkpoint's extractor and precision."""
    begun, device = checkpoint.config, resolve_device(config.train.device)
    precision = continued(config.train.precision, begun.train.precision, device)
    config = override(config, {"train.precision": precision}, "train.precision")
    return _replace_auto(config, begun.eval.extractor)


def _replace_auto(config: TrainConfig, name: str) -> TrainConfig:
    if config.eval.extractor != "auto":
        return config
    return override(config, {"eval.extractor": name}, "eval.extractor")


def with_resolved_extractor(
    config: TrainConfig, device: torch.device, extractor: Extractor | None
) -> tuple[TrainConfig, Extractor]:
    """Load the extractor if there is none yet, and replace `auto` by its name."""
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


def check_unused(folder: RunFolder) -> None:
    """Raise `UsageError` if the folder holds a run."""
    if any(path.exists() for path in (folder.history, *folder.checkpoints)):
        raise UsageError(
            f"{folder.path} already holds a run; continue it with --resume or choose another "
            "folder with --out"
        )


def open_folder(folder: RunFolder, resume: bool) -> Checkpoint | None:
    """Make the run's folder; return the checkpoint to continue from, if there is one.

    Raises `UsageError` if the folder holds a run and `resume` is false, and `CheckpointError` if
    the checkpoint cannot be read.
    """
    folder.create()
    if resume and folder.checkpoint.exists():
        return load_checkpoint(folder.checkpoint)
    if not resume:
        check_unused(folder)
    if folder.best.exists():
        raise CheckpointError(
            f"{folder.path} holds {folder.best.name} but no {folder.checkpoint.name} to continue "
            "from; move it away to train again"
        )
    # The run never reached its first checkpoint.
    for path in (folder.history, *folder.grids().values()):
        path.unlink(missing_ok=True)
    return None
