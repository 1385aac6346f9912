"""The Python API for a finished run: draw samples from it, score it."""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import torch
from torch import Tensor

from dcgan.config.settings import override
from dcgan.data.bank import PhotoBank, load_bank
from dcgan.errors import EvaluationError, UsageError
from dcgan.evaluation.evaluator import Evaluator, configured_extractor
from dcgan.evaluation.record import EvalRecord
from dcgan.models.networks import Generator
from dcgan.models.sampling import fixed_noise, generate_images, render
from dcgan.runtime.devices import clear_memory_errors, resolve_device
from dcgan.training.recorder import balance_of
from dcgan.training.run.checkpoint import Checkpoint, load_checkpoint, load_generator
from dcgan.training.run.exported import is_model, read_model

if TYPE_CHECKING:
    from dcgan.evaluation.memorisation import Memorisation
    from dcgan.evaluation.memorisation_report import MemorisationReport

CheckpointLike = Checkpoint | str | os.PathLike[str]


class ScoringOptions(TypedDict, total=False):
    """Keyword arguments of `evaluate`."""

    bank: PhotoBank | None
    n_samples: int | None
    extractor: str | None
    weights: Path | None
    device: str


def generate(
    checkpoint: CheckpointLike, count: int = 64, *, seed: int | None = None, model: str = "ema"
) -> Tensor:
    """Draw images, uint8 `(count, 3, S, S)`, RGB, on the CPU, from a checkpoint's generator.

    `checkpoint` may also be the folder of an exported model, which has one generator. `seed`
    chooses the noise; None means that of the fixed-noise grids. `model` is `ema` (moving average)
    or `raw` (last weights). Raises `CheckpointError` if the file cannot be used, and `UsageError`
    for an unknown model.
    """
    generator = load_for_sampling(checkpoint, model=model)
    return render(generator, fixed_noise(generator.nz, count, seed))


def load_for_sampling(checkpoint: CheckpointLike, *, model: str = "ema") -> Generator:
    """A checkpoint's generator in eval mode: noise `(N, nz, 1, 1)` → images in [-1, 1]."""
    if model not in ("ema", "raw"):
        raise UsageError(f"--model must be ema or raw, but got {model!r}")
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = fetched(os.fspath(checkpoint))
        if is_model(Path(checkpoint)):
            return load_model(checkpoint)
    return load_generator(_loaded(checkpoint), model, resolve_device("auto"))


def fetched(place: str) -> str:
    """The local path of what `place` names: itself, or what another package's source fetches.

    A package offers a source as an entry point of the group `dcgan.sources`, under the scheme of
    its addresses: `study` fetches `models:/NAME@champion` from MLflow's registry.
    """
    scheme, colon, _ = place.partition(":/")
    if not colon or Path(place).exists():
        return place
    for source in entry_points(group="dcgan.sources", name=scheme):
        return str(source.load()(place))
    return place


def load_model(folder: str | os.PathLike[str], *, device: str = "auto") -> Generator:
    """The generator of an exported folder (`dcgan export`), in eval mode.

    It maps noise `(N, nz, 1, 1)` to images in [-1, 1]. Raises `CheckpointError` if a file is
    missing or damaged.
    """
    return read_model(Path(folder), resolve_device(device))


def evaluate(checkpoint: CheckpointLike, **options: Unpack[ScoringOptions]) -> EvalRecord:
    """Score a checkpoint's moving average and raw generator against photos.

    The checkpoint's config gives the options that you leave out:

    - `bank`: the photos.
    - `n_samples`: number of generated images. Scores of different n are not comparable.
    - `extractor`, `weights`: as in `eval.extractor` and `eval.weights`.
    - `device`: `auto`, `cpu`, `cuda` or `mps`, by default `auto`.

    Raises `DcganError` if checkpoint, photos or extractor cannot be used.
    """
    return Scoring(checkpoint, **options).evaluate()


class Scoring:
    """A checkpoint and everything that its scores need. For options and errors see `evaluate`.

    `note` is a warning about the scores, or an empty string.
    """

    def __init__(
        self,
        checkpoint: CheckpointLike,
        *,
        bank: PhotoBank | None = None,
        n_samples: int | None = None,
        extractor: str | None = None,
        weights: Path | None = None,
        device: str = "auto",
    ) -> None:
        loaded = self.checkpoint = _loaded(checkpoint)
        asked = {"eval.n_samples": n_samples, "eval.extractor": extractor, "eval.weights": weights}
        changes: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
        if extractor not in (None, "auto", "inception"):
            changes["eval.weights"] = weights  # the run's own are Inception's
        config = override(loaded.config, changes, "evaluate")
        self.holdout: PhotoBank | None = None
        self.note = ""
        with clear_memory_errors():
            photos = bank or load_bank(config.data)
            if photos.images.shape[-1] != config.data.image_size:
                raise EvaluationError(
                    f"the photos are {photos.images.shape[-1]} pixels wide but {loaded.path} "
                    f"generates {config.data.image_size}; load them with its own config.data"
                )
            if photos.fingerprint == loaded.data_fingerprint:
                photos, self.holdout = photos.split(config.data.holdout_fraction)
            else:
                self.note = (
                    f"these are not the photos that {loaded.path} was trained on (fingerprint "
                    f"{photos.fingerprint[:12]}, there {loaded.data_fingerprint[:12]}): the scores "
                    "compare with all of them, none counts as held out, and memorisation is judged "
                    "against them"
                )
            self.photos = photos
            scorer = configured_extractor(config, resolve_device(device))
            self.evaluator = Evaluator(photos, scorer, config.eval, self.holdout)

    def evaluate(self) -> EvalRecord:
        """Score the moving average and the last weights."""
        loaded, device = self.checkpoint, self.evaluator.extractor.device
        with clear_memory_errors(), torch.no_grad():
            return self.evaluator.evaluate(
                load_generator(loaded, "ema", device),
                load_generator(loaded, "raw", device),
                balance_of(loaded.losses),
                step=loaded.step,
                epoch=loaded.epoch,
            )

    def evidence(self) -> tuple[EvalRecord, Memorisation | None]:
        """The scores, and which images repeat a photo; None with too few photos to judge that."""
        try:
            return self.evaluate(), self.memorisation().pictures
        except EvaluationError:
            return self.evaluate(), None

    def memorisation(self) -> MemorisationReport:
        """Judge whether the generator that counts (`eval.score_model`) repeats training photos.

        Raises `EvaluationError` if there are fewer than 3 different photos.
        """
        from dcgan.evaluation.memorisation_report import report_memorisation

        settings, extractor = self.evaluator.config, self.evaluator.extractor
        with clear_memory_errors(), torch.no_grad():
            generator = load_generator(self.checkpoint, settings.score_model, extractor.device)
            batches = generate_images(generator, settings.n_samples)
            images = torch.cat([batch.cpu() for batch in batches])
            return report_memorisation(images, self.photos, extractor, self.holdout)


def _loaded(checkpoint: CheckpointLike) -> Checkpoint:
    return checkpoint if isinstance(checkpoint, Checkpoint) else load_checkpoint(Path(checkpoint))
