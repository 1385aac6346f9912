"""What a notebook does with a finished run: sample from it, score it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dcgan.checkpoint import Checkpoint, load_checkpoint, load_generator
from dcgan.config import TrainConfig
from dcgan.config_io import override
from dcgan.data import PhotoBank, load_bank
from dcgan.devices import clear_memory_errors, resolve_device
from dcgan.errors import EvaluationError, UsageError
from dcgan.evaluation import EvalResult, Evaluator, configured_extractor, generate_images
from dcgan.networks import Generator
from dcgan.sampling import fixed_noise, render

if TYPE_CHECKING:
    from dcgan.memorisation_report import MemorisationReport

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
    extractor: str | None = None,
    weights: Path | None = None,
    device: str = "auto",
) -> EvalResult:
    """Score a checkpoint's moving average and raw generator against photos.

    Args:
        bank: the photos; loaded as the checkpoint's config says if left out.
        n_samples: generated images; the config's number if left out. Scores of different n are
            not comparable.
        extractor: as in `eval.extractor`; the config's if left out.
        weights: file with Inception's weights, as in `eval.weights`.

    Raises:
        DcganError: checkpoint, photos or extractor cannot be used.
    """
    loaded = _loaded(checkpoint)
    with clear_memory_errors(), torch.no_grad():
        config, where, photos, holdout = _prepare(
            loaded, bank, n_samples, extractor, weights, device
        )
        evaluator = Evaluator(photos, configured_extractor(config, where), config.eval, holdout)
        return evaluator.evaluate(
            load_generator(loaded, "ema", where),
            load_generator(loaded, "raw", where),
            loaded.losses,
            step=loaded.step,
            epoch=loaded.epoch,
        )


def memorisation(
    checkpoint: CheckpointLike,
    *,
    bank: PhotoBank | None = None,
    n_samples: int | None = None,
    extractor: str | None = None,
    weights: Path | None = None,
    device: str = "auto",
) -> MemorisationReport:
    """Whether the generator that counts (`eval.score_model`) repeats its training photos.

    Args and errors as of `evaluate`; the images are those it scores.
    """
    from dcgan.memorisation_report import report_memorisation

    loaded = _loaded(checkpoint)
    with clear_memory_errors(), torch.no_grad():
        config, where, photos, holdout = _prepare(
            loaded, bank, n_samples, extractor, weights, device
        )
        generator = load_generator(loaded, config.eval.score_model, where)
        batches = generate_images(generator, config.eval.n_samples, config.eval.batch_size)
        images = torch.cat([batch.cpu() for batch in batches])
        return report_memorisation(images, photos, configured_extractor(config, where), holdout)


def _prepare(
    loaded: Checkpoint,
    bank: PhotoBank | None,
    n_samples: int | None,
    extractor: str | None,
    weights: Path | None,
    device: str,
) -> tuple[TrainConfig, torch.device, PhotoBank, PhotoBank | None]:
    """The config as asked, the device, the photos, and those held out."""
    asked = {"eval.n_samples": n_samples, "eval.extractor": extractor, "eval.weights": weights}
    changes: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
    if extractor not in (None, "auto", "inception"):
        changes["eval.weights"] = weights  # the run's own are Inception's
    config = override(loaded.config, changes, "evaluate")
    photos = bank or load_bank(config.data)
    if photos.images.shape[-1] != config.data.image_size:
        raise EvaluationError(
            f"the photos are {photos.images.shape[-1]} pixels wide but {loaded.path} generates "
            f"{config.data.image_size}; load them with its own config.data"
        )
    holdout = None
    if photos.fingerprint == loaded.data_fingerprint:  # of other photos, none was trained on
        photos, holdout = photos.split(config.data.holdout_fraction)
    return config, resolve_device(device), photos, holdout


def _loaded(checkpoint: CheckpointLike) -> Checkpoint:
    return checkpoint if isinstance(checkpoint, Checkpoint) else load_checkpoint(Path(checkpoint))
