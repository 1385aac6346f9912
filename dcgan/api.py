"""What a notebook does with a finished run: sample from it, score it."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from dcgan.checkpoint import Checkpoint, load_checkpoint, load_generator
from dcgan.data import PhotoBank, load_bank
from dcgan.devices import clear_memory_errors, resolve_device
from dcgan.errors import EvaluationError, UsageError
from dcgan.evaluation import EvalResult, Evaluator
from dcgan.metrics.features import load_extractor
from dcgan.networks import Generator
from dcgan.sampling import fixed_noise, render

CheckpointLike = Checkpoint | str | os.PathLike[str]


def generate(
    checkpoint: CheckpointLike, count: int = 64, *, seed: int | None = None, model: str = "ema"
) -> Tensor:
    """Draw `count` images from a checkpoint's generator.

    Args:
        seed: of the noise; none draws the noise of the run's fixed-noise grids.
        model: `ema` (moving average) or `raw` (last weights).

    Returns:
        uint8 `(count, 3, S, S)`, RGB, on the CPU.

    Raises:
        CheckpointError: the file cannot be used.
        UsageError: an unknown model.
    """
    generator = load_for_sampling(checkpoint, model=model)
    return render(generator, fixed_noise(generator.nz, count, seed))


def load_for_sampling(
    checkpoint: CheckpointLike, *, model: str = "ema", device: str = "auto"
) -> Generator:
    """A checkpoint's generator in eval mode: noise `(N, nz, 1, 1)` → images in [-1, 1]."""
    if model not in ("ema", "raw"):
        raise UsageError(f"--model must be ema or raw, but got {model!r}")
    return load_generator(_loaded(checkpoint), model, resolve_device(device))


def evaluate(
    checkpoint: CheckpointLike,
    *,
    bank: PhotoBank | None = None,
    n_samples: int | None = None,
    device: str = "auto",
) -> EvalResult:
    """Score a checkpoint's moving average and raw generator against photos.

    Args:
        bank: the photos; loaded as the checkpoint's config says if left out.
        n_samples: generated images; the config's number if left out. Scores of different n are
            not comparable.

    Raises:
        DcganError: checkpoint, photos or extractor cannot be used.
    """
    loaded = _loaded(checkpoint)
    config = loaded.config
    where = resolve_device(device)
    eval_config = config.eval
    if n_samples is not None:
        eval_config = eval_config.model_copy(update={"n_samples": n_samples})
    with clear_memory_errors(), torch.no_grad():
        photos = bank or load_bank(config.data)
        if photos.images.shape[-1] != config.data.image_size:
            raise EvaluationError(
                f"the photos are {photos.images.shape[-1]} pixels wide but {loaded.path} generates "
                f"{config.data.image_size}; load them with its own config.data"
            )
        evaluator = Evaluator(
            photos,
            load_extractor(config.eval.extractor, where),
            eval_config,
        )
        return evaluator.evaluate(
            load_generator(loaded, "ema", where),
            load_generator(loaded, "raw", where),
            loaded.losses,
            step=loaded.step,
            epoch=loaded.epoch,
        )


def _loaded(checkpoint: CheckpointLike) -> Checkpoint:
    return checkpoint if isinstance(checkpoint, Checkpoint) else load_checkpoint(Path(checkpoint))
