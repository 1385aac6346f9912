"""Scores of a generator: distances to the real photos, and the balance of the two losses.

Evaluation has its own noise and leaves networks and random streams unchanged, so it does not change
the training.
"""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from dcgan.config.train_config import EvalConfig, TrainConfig
from dcgan.data.bank import PhotoBank
from dcgan.evaluation.extractors.base import Extractor, extract, extract_with_classes
from dcgan.evaluation.extractors.registry import load_extractor
from dcgan.evaluation.extractors.weights import OnProgress
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
        held_out = None if holdout is None else real_features(holdout, extractor)
        features = real_features(photos, extractor)
        self.real = RealSet(features, held_out, real_classes(photos, extractor))

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
        other_in_full: bool = True,
    ) -> EvalRecord:
        """Score the moving average (see `with_fresh_batchnorm`) and the generator in training.

        `raw` keeps its mode. `log_loss_ratio` is that of the run so far (see `balance`); None means
        before any training. Without `other_in_full`, only the numbers that a history keeps are
        computed for the generator that does not count.
        """
        start, counts = time.monotonic(), self.config.score_model
        was_training = raw.training
        raw.eval()
        try:
            raw_score = self.score(raw, in_full=other_in_full or counts == "raw")
        finally:
            raw.train(was_training)
        ema_score = self.score(ema, in_full=other_in_full or counts == "ema")
        scored, other = (ema_score, raw_score) if counts == "ema" else (raw_score, ema_score)
        fd, kd = self.extractor.frechet_name, self.extractor.kernel_name
        metrics = dict(scored)
        for which, score in (("ema", ema_score), ("raw", raw_score)):
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
            other=other,
        )


def real_features(bank: PhotoBank, extractor: Extractor) -> Tensor:
    """Features of all photos, float64 `(N, d)`, cached on disk.

    The key covers the pixels (decoders differ), the extractor, and the device and thread count,
    which may change the last digits.
    """
    shape = (len(bank.images), extractor.dimension)
    return _cached("", bank, extractor, shape, lambda: extract(extractor, bank.images))


def real_classes(bank: PhotoBank, extractor: Extractor) -> Tensor | None:
    """The classes of all photos, int64 `(N,)`, cached likewise; None without a classifier."""
    if extractor.with_classes is None:
        return None

    def classes() -> Tensor:
        found = extract_with_classes(extractor, bank.images)[1]
        assert found is not None
        return found.double()

    return _cached("classes", bank, extractor, (len(bank.images),), classes).long()


def _cached(
    kind: str,
    bank: PhotoBank,
    extractor: Extractor,
    shape: tuple[int, ...],
    compute: Callable[[], Tensor],
) -> Tensor:
    """A finite float64 tensor of a shape, from the disk if it is there."""
    pixels = zlib.crc32(bank.images.contiguous().numpy().data)
    where = f"{extractor.device.type}:{torch.get_num_threads()}"
    identity = f"{bank.fingerprint}:{tuple(bank.images.shape)}:{pixels}:{where}"
    key = hashlib.sha256(f"{identity}:{extractor.fingerprint}{kind}".encode()).hexdigest()[:32]
    path = cache_folder() / "features" / f"{key}.npy"
    # A missing or damaged file is written below.
    with suppress(OSError, ValueError, EOFError, BadZipFile), path.open("rb") as file:
        cached = np.load(file, allow_pickle=False)
        if cached.shape == shape and cached.dtype == np.float64 and np.isfinite(cached).all():
            return torch.from_numpy(cached)
    values = compute()
    with suppress(OSError):  # an unwritable cache only costs time
        write_atomic(path, lambda file: np.save(file, values.numpy(), allow_pickle=False))
    return values
