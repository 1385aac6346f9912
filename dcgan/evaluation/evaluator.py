"""Scores of a generator: distances to the real photos, and the balance of the two losses.

Evaluation has its own noise and leaves networks and random streams unchanged, so it does not change
the training.
"""

from __future__ import annotations

import hashlib
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from torch import Tensor

from dcgan.config.train_config import EvalConfig, TrainConfig
from dcgan.data.bank import PhotoBank
from dcgan.evaluation.extractors.base import Extractor, extract_with_classes
from dcgan.evaluation.extractors.registry import load_extractor
from dcgan.evaluation.extractors.weights import OnProgress
from dcgan.evaluation.metrics.recognised import why_not_given
from dcgan.evaluation.metrics.registry import RealSet
from dcgan.evaluation.record import EvalRecord
from dcgan.evaluation.set_score import score_set
from dcgan.models.networks import Generator
from dcgan.models.sampling import generate_images
from dcgan.runtime.cache import cache_folder
from dcgan.runtime.files import write_atomic


def configured_extractor(
    config: TrainConfig, device: torch.device, on_progress: OnProgress | None = None
) -> Extractor:
    """The extractor that a config names. See `registry.load_extractor` for errors."""
    return load_extractor(
        config.eval.extractor,
        device,
        weights=config.eval.weights,
        image_size=config.data.image_size,
        on_progress=on_progress,
    )


class Evaluator:
    """Scores generators with one extractor, against photos trained on and held-out ones."""

    def __init__(
        self,
        photos: PhotoBank,
        extractor: Extractor,
        config: EvalConfig,
        holdout: PhotoBank | None = None,
    ) -> None:
        self.config = config
        self.extractor = extractor
        held_out = None if holdout is None else seen_in(holdout, extractor)[0]
        features, classes = seen_in(photos, extractor)
        self.real = RealSet(features, held_out, classes, extractor.parts)

    @property
    def photo_notes(self) -> tuple[str, ...]:
        """Sentences about the photos that a person should read."""
        reason = "" if self.real.classes is None else why_not_given(self.real.classes)
        return (reason,) if reason else ()

    def score(self, generator: Generator, *, in_full: bool = True) -> dict[str, float]:
        """The metrics of `config.n_samples` images of a generator in eval mode, by name."""
        images = generate_images(generator, self.config.n_samples)
        names = self.extractor.frechet_name, self.extractor.kernel_name
        features, classes = list[Tensor](), list[Tensor]()
        for batch in images:
            seen, named = extract_with_classes(self.extractor, batch)
            features.append(seen)
            classes += [] if named is None else [named]
        best = torch.cat(classes) if classes else None
        return score_set(self.real, torch.cat(features), *names, classes=best, in_full=in_full)

    def evaluate(
        self,
        ema: Generator,
        raw: Generator,
        log_loss_ratio: float | None,
        *,
        step: int,
        epoch: int,
        other: Literal["all", "distances", "nothing"] = "all",
    ) -> EvalRecord:
        """Score the moving average (see `with_fresh_batchnorm`) and the generator in training.

        `raw` keeps its mode. `log_loss_ratio` is that of the run so far (see `balance`); None means
        before any training. `other` says what is computed for the generator that does not count:
        all metrics, the distances (what a history keeps of it), or nothing.
        """
        start, counts = time.monotonic(), self.config.score_model
        scores = dict[str, dict[str, float]]()
        was_training = raw.training
        raw.eval()
        try:
            for model, generator in (("ema", ema), ("raw", raw)):
                if model == counts or other != "nothing":
                    in_full = model == counts or other == "all"
                    scores[model] = self.score(generator, in_full=in_full)
        finally:
            raw.train(was_training)
        fd, kd = self.extractor.frechet_name, self.extractor.kernel_name
        metrics = dict(scores[counts])
        for which, score in scores.items():
            metrics |= {f"{fd}_{which}{end}": score[fd + end] for end in ("", "_low", "_high")}
            metrics[f"{kd}_{which}"] = score[kd]
        holdout = self.real.holdout
        return EvalRecord(
            step=step,
            epoch=epoch,
            timestamp=time.time(),
            frechet_metric=fd,
            kernel_metric=kd,
            metrics=metrics,
            imbalance=None if log_loss_ratio is None else abs(log_loss_ratio),
            log_loss_ratio=log_loss_ratio,
            score_model=counts,
            n_samples=self.config.n_samples,
            n_real=len(self.real.features),
            n_holdout=0 if holdout is None else len(holdout),
            extractor=self.extractor.name,
            extractor_fingerprint=self.extractor.fingerprint,
            seconds=time.monotonic() - start,
            other=scores.get("raw" if counts == "ema" else "ema", {}),
        )


def seen_in(bank: PhotoBank, extractor: Extractor) -> tuple[Tensor, Tensor | None]:
    """All photos' features, float64 `(N, d)`, and a classifier's classes, int64 `(N,)`; cached.

    The key of the file covers the pixels (decoders differ), the extractor, and the device and
    thread count, which may change the last digits.
    """
    pixels = zlib.crc32(bank.images.contiguous().numpy().data)
    where = f"{extractor.device.type}:{torch.get_num_threads()}"
    identity = f"{bank.fingerprint}:{tuple(bank.images.shape)}:{pixels}:{where}"
    key = hashlib.sha256(f"{identity}:{extractor.fingerprint}".encode()).hexdigest()[:32]
    path = cache_folder() / "features" / f"{key}.npz"
    # A missing or damaged file is written below.
    with suppress(OSError, ValueError, EOFError, KeyError, BadZipFile):
        return _read(path, extractor, len(bank.images))
    features, classes = extract_with_classes(extractor, bank.images)
    found: dict[str, Any] = {"features": features.numpy()}
    found |= {} if classes is None else {"classes": classes.numpy()}
    with suppress(OSError):  # an unwritable cache only costs time
        write_atomic(path, lambda file: np.savez(file, **found))
    return features, classes


def _read(path: Path, extractor: Extractor, count: int) -> tuple[Tensor, Tensor | None]:
    """What `seen_in` wrote. Raises `ValueError` if it is something else."""
    # np.load leaves a damaged file open that it opened itself.
    with path.open("rb") as content:
        file = np.load(content, allow_pickle=False)
        if not isinstance(file, NpzFile):
            raise ValueError(f"{path} holds one array")
        features = torch.from_numpy(file["features"])
        classes = torch.from_numpy(file["classes"]) if extractor.with_classes else None
    if (
        features.shape != (count, extractor.dimension)
        or features.dtype != torch.float64
        or not features.isfinite().all()
        or (classes is not None and (classes.shape != (count,) or classes.dtype != torch.int64))
    ):
        raise ValueError(f"{path} holds something else")
    return features, classes
