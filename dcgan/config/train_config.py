"""The configuration of one training run: the meaning, unit and only default of each value.

The defaults are the published hand-tuned cat recipe, which `configs/reference.yaml` spells out.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from dcgan.errors import ConfigError

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
LearningRate = Annotated[float, Field(gt=0.0, le=1.0)]


def absolute_path(path: Path, info: ValidationInfo) -> Path:
    """Relative to the folder of the config file, if the path stands in one."""
    try:
        str(path).encode("utf-8")
        if "\0" in str(path):
            raise ValueError("must not contain a NUL character")
        folder = (info.context or {}).get("folder", Path())
        return Path(os.path.abspath(folder / path.expanduser()))  # noqa: PTH100 (and no links)
    except UnicodeEncodeError:
        raise ValueError("its bytes are no UTF-8 text; rename it, or name a link to it") from None
    except RuntimeError as error:  # ~ without a home
        raise ValueError(str(error)) from None


AbsolutePath = Annotated[Path, AfterValidator(absolute_path)]
PATHS = ("data.root", "eval.weights")
"""Dotted keys of the settings of this type."""
MAX_SEED = 2**63 - 1
EXTRACTORS = ("auto", "joint", "imagenet", "inception", "layout", "random")


def refuse_program(extractor: str) -> None:
    """Refuse the extractor `FILE.pt2`, an exported program, which earlier releases loaded.

    Only config files and scoring refuse it, so that runs of earlier releases can still be shown.
    Raises `ConfigError`, which says how to load the program.
    """
    if extractor.endswith(".pt2"):
        raise ConfigError(
            f"eval.extractor: an exported program ({extractor}) needs a module of yours that loads "
            "it; write encoder.py with the three lines 'import torch', "
            f"'program = torch.export.load(\"{extractor}\").module()' and "
            "'def encode(images): return program(images)', and set eval.extractor to "
            "encoder:encode"
        )


class Section(BaseModel):
    """A frozen group of settings. Unknown keys are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _truth_is_no_number(cls, data: Any) -> Any:
        for name, value in data.items() if isinstance(data, dict) else ():
            field = cls.model_fields.get(name)
            wanted = str(field.annotation) if field else ""
            if isinstance(value, bool) and ("int" in wanted or "float" in wanted):
                raise ValueError(
                    f"{name} must be a number, not true or false (as YAML reads yes and no)"
                )
        return data


class DataConfig(Section):
    """Which photos, and the square size they are trained at."""

    source: Literal["folder", "toy_cats"] = "folder"
    """`folder`: the images below `root`. `toy_cats`: drawn by the program, no files needed."""
    root: AbsolutePath | None = None
    """Folder of images, flat or in class folders, any nesting (`--data DIR` sets it). A relative
    path in a config file is meant from the folder of that file."""
    classes: tuple[str, ...] | None = None
    """Class folders to use (names of folders directly below `root`); null: every image."""
    image_size: Literal[32, 64, 128] = 64
    """Side of the square images in pixels."""
    holdout_fraction: float = Field(0.0, ge=0.0, le=0.5)
    """Fraction of the photos that is never trained on; the distance to them is scored too."""
    toy_count: int = Field(512, ge=2, le=1_000_000)
    """How many toy cats to draw (`source: toy_cats`)."""
    toy_seed: int = Field(0, ge=0, le=MAX_SEED)
    """Seed of the drawn toy cats."""

    @field_validator("classes")
    @classmethod
    def _class_names(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and (
            not value or any(name in ("", ".", "..") or "/" in name for name in value)
        ):
            raise ValueError("must list at least one folder name, without slashes")
        return value


class AugmentConfig(Section):
    """Random changes made to a training photo each time it is used; 0 switches one off."""

    rotation_degrees: float = Field(0.0, ge=0.0, le=180.0)
    """Each photo is rotated by up to this many degrees in either direction (black corners)."""
    brightness: Fraction = 0.2
    """Brightness is multiplied by a factor in [1 - b, 1 + b]."""
    saturation: Fraction = 0.2
    """Colourfulness is multiplied by a factor in [1 - s, 1 + s]."""
    hue: float = Field(0.0, ge=0.0, le=0.5)
    """Hue is shifted by up to this fraction of the colour wheel in either direction."""
    blur_sigma: tuple[float, float] = (0.1, 1.2)
    """Range of the Gaussian blur's standard deviation in pixels; [0, 0] (or 0): no blur."""
    blur_kernel: tuple[int, int] = (5, 9)
    """Width and height of the blur kernel in pixels, both odd."""
    flip: Fraction = 0.0
    """Probability that a photo is mirrored left-right."""
    diff_translation: Fraction = 0.0
    """DiffAugment: probability that an image is shifted before the discriminator sees it, a photo
    or a generated one, by up to an eighth of its side (grey borders)."""
    diff_colour: Fraction = 0.0
    """DiffAugment: probability that brightness, saturation and contrast are changed in the same
    way. Colours may leak into the generated images."""
    diff_cutout: Fraction = 0.0
    """DiffAugment: probability that a square of half the side is hidden in the same way."""

    @field_validator(
        "blur_sigma", mode="before", json_schema_input_type=tuple[float, float] | Literal[0]
    )
    @classmethod
    def _zero_is_off(cls, value: Any) -> Any:
        return (0.0, 0.0) if value in (0, "0") else value

    @field_validator("blur_sigma")
    @classmethod
    def _sigma_range(cls, value: tuple[float, float]) -> tuple[float, float]:
        low, high = value
        if value != (0.0, 0.0) and not 0.0 < low <= high <= 100.0:
            raise ValueError("must be [low, high] with 0 < low <= high <= 100, or 0 for no blur")
        return value

    @field_validator("blur_kernel")
    @classmethod
    def _odd_kernel(cls, value: tuple[int, int]) -> tuple[int, int]:
        if any(side < 1 or side > 31 or side % 2 == 0 for side in value):
            raise ValueError("must be two odd numbers from 1 to 31: [width, height]")
        return value


class ModelConfig(Section):
    """The kind and the size of the two networks."""

    nz: int = Field(30, ge=1, le=4096)
    """Length of the noise vector."""
    ngf: int = Field(64, ge=1, le=1024)
    """Channels of the generator's last hidden layer (each earlier layer doubles it)."""
    upsample: Literal["transposed", "nearest"] = "transposed"
    """How the generator doubles the side: by a 4×4 transposed convolution, or by repeating each
    pixel and a 3×3 convolution, which leaves no checkerboard."""
    discriminator: Literal["dcgan", "projected"] = "dcgan"
    """`dcgan`: trained from scratch. `projected`: small heads on the features of a frozen network
    that knows ImageNet (see the section `projected`)."""
    ndf: int = Field(32, ge=1, le=1024)
    """Channels of the discriminator's first layer (each later layer doubles it)."""
    leaky_slope: float = Field(0.1, ge=0.0, lt=1.0)
    """Slope of the discriminator's LeakyReLU below zero."""


class ProjectedConfig(Section):
    """The discriminator `projected`; unused with the other one."""

    side: int | None = Field(None, ge=32, le=512)
    """Images are resized to this side in pixels before the frozen network sees them; null: their
    own. A larger side costs time with its square."""
    scales: tuple[Literal[4, 8, 16, 32], ...] = Field(
        (4, 8, 16, 32), min_length=1, json_schema_extra={"uniqueItems": True}
    )
    """Strides in pixels of the frozen network's maps that get a head each."""
    pixels: bool = True
    """Whether a `dcgan` discriminator of the image itself (`model.ndf`) stands beside the heads.
    The frozen network hardly sees colours."""
    channels: int = Field(64, ge=1, le=1024)
    """Channels of each map after its fixed random 1×1 projection."""
    mix: bool = True
    """Whether each map also contains the coarser ones, through fixed random 3×3 convolutions."""
    width: int = Field(64, ge=1, le=1024)
    """Channels of the heads."""

    @field_validator("scales")
    @classmethod
    def _scales_in_order(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if sorted(set(value)) != list(value):
            raise ValueError("must list each stride once, the smallest first")
        return value


class OptimConfig(Section):
    """Adam, with a learning rate for each network."""

    lr_g: LearningRate = 3e-4
    """Learning rate of the generator."""
    lr_d: LearningRate = 2e-4
    """Learning rate of the discriminator."""
    beta1: float = Field(0.5, ge=0.0, lt=1.0)
    """Adam's decay of the gradient mean."""
    beta2: float = Field(0.999, ge=0.0, lt=1.0)
    """Adam's decay of the squared gradient mean."""
    decay_fraction: Fraction = 0.0
    """Both learning rates fall linearly to 0 over this last part of the run's steps."""


class LossConfig(Section):
    """What the two networks minimise."""

    kind: Literal["bce", "hinge"] = "bce"
    """`bce`: binary cross-entropy, the published one. `hinge`: D stops pushing images that it
    tells apart clearly."""


class LoopConfig(Section):
    """How long and how a run trains, and what it writes on the way."""

    epochs: int = Field(54, ge=1, le=1_000_000)
    """Passes over the photos."""
    batch_size: int = Field(32, ge=2, le=65_536)
    """Photos per step; the last, smaller batch of an epoch is kept."""
    seed: int = Field(84, ge=0, le=MAX_SEED)
    """Seed of every random stream: weights, photo order, noise, augmentation."""
    deterministic: bool = True
    """Use deterministic algorithms: same config, machine and threads give the same bits."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """`auto`: a CUDA GPU, else Apple's (mps), else the CPU."""
    threads: int | None = Field(None, ge=1, le=1024)
    """CPU threads; null: torch's choice.
    Another number of threads may change the last digits of results."""
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "fp32"
    """Precision of the networks' passes. `bf16`: bfloat16; weights, BatchNorm statistics, losses,
    optimizers and scores stay float32. `tf32`: float32 with shorter factors, on a CUDA GPU. `auto`:
    the faster of fp32 and bf16 on a CPU, measured once; tf32 on a CUDA GPU."""
    cuda_graphs: bool = True
    """On a CUDA GPU, record a step once and replay it: the same numbers without the cost of
    launching hundreds of small kernels."""
    ema_half_life_images: int = Field(2_000, ge=0, le=1_000_000_000)
    """Half-life of the generator's moving average in images seen; 0: no averaging."""
    checkpoint_every_epochs: int = Field(5, ge=1)
    """Epochs between checkpoints; one is also written at the end and on interruption."""
    grid_every_steps: int = Field(55, ge=1)
    """Steps between grids of fixed-noise samples, from step 0; one is also drawn at the end."""
    log_every_steps: int = Field(5, ge=1)
    """Steps between log records: losses are read from the device, shown and written."""


class EvalConfig(Section):
    """How a run is scored."""

    extractor: str = "auto"
    """What turns images into features. `imagenet`: a small network that knows ImageNet's classes
    (`fd_imagenet`); `layout`: a small fixed one that was never trained (`fd_layout`); `joint`: both
    side by side (`fd_joint`); `inception`: the canonical one (`fid`); `random`: layout's, blind to
    where in the image something is (`fd_random`); `module:callable`: your own; `auto`: joint; on a
    CUDA GPU Inception, if its weights are on this machine or can be downloaded."""
    weights: AbsolutePath | None = None
    """File with Inception's weights, which `auto` then takes too; null: the place that
    `dcgan doctor` shows."""
    n_samples: int = Field(1024, ge=3, le=1_000_000)
    """Generated images per score. Scores of different n are never comparable."""
    every_epochs: int = Field(9, ge=0)
    """Epochs between scores; the last epoch is always scored; 0: only the last."""
    score_model: Literal["ema", "raw"] = "ema"
    """Which generator counts: its moving average (`ema`) or the last weights (`raw`)."""
    select: Literal["last", "best"] = "last"
    """Which evaluation of a run counts: its last, or its best so far, whose checkpoint is
    `best.pt`. A study judges a complete trial by it; the closing pictures show its generator."""
    fid_at_end: bool = False
    """At the end of a run, also compute FID by Inception, if its weights are on this machine. An
    exported config sets it. On a CPU it takes minutes."""

    @field_validator("extractor")
    @classmethod
    def _known_extractor(cls, value: str) -> str:
        # For FILE.pt2 see `refuse_program`.
        if value not in EXTRACTORS and not re.fullmatch(r"[\w.]+:[\w.]+|.*\.pt2", value):
            raise ValueError(f"must be {', '.join(EXTRACTORS)} or module:callable")
        return value

    @model_validator(mode="after")
    def _weights_are_inceptions(self) -> EvalConfig:
        if self.weights is not None and self.extractor not in ("auto", "inception"):
            raise ValueError(
                f"eval.weights are Inception's, but eval.extractor is {self.extractor!r}; leave "
                "them out or set it to inception"
            )
        return self


class TrainConfig(Section):
    """One training run. Every section and key may be left out."""

    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    projected: ProjectedConfig = ProjectedConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    train: LoopConfig = LoopConfig()
    eval: EvalConfig = EvalConfig()
    provenance: dict[str, Any] = Field(default_factory=dict)
    """Where an exported config comes from; ignored by training."""

    @model_validator(mode="after")
    def _blur_fits(self) -> TrainConfig:
        if max(self.augment.blur_kernel) // 2 >= self.data.image_size:
            raise ValueError("augment.blur_kernel is too large for data.image_size")
        return self

    @model_validator(mode="after")
    def _projected_fits(self) -> TrainConfig:
        if self.model.discriminator != "projected":
            return self
        own = self.data.image_size
        side = self.projected.side or own
        if side < own:
            raise ValueError(
                f"projected.side is {side}, less than data.image_size ({own}): the discriminator "
                "would not see what the generator draws; leave it out or enlarge it"
            )
        coarsest = max(self.projected.scales)
        if side <= coarsest:
            raise ValueError(
                f"projected.scales contains {coarsest}, of which {side} pixels leave a single "
                f"field; take it out or set projected.side to {2 * coarsest}"
            )
        return self
