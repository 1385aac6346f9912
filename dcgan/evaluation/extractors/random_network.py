"""The extractors that need no download: a small fixed random network.

`random` (`fd_random`) describes an image by statistics over all its pixels. `layout` (`fd_layout`)
adds where the colours are. docs/metrics.md shows what each of them sees. The weights are in the
file beside this module, made by `benchmarks/evaluation/make_random_network.py`.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load as load_safetensors
from torch import Tensor

from dcgan.errors import EvaluationError
from dcgan.evaluation.extractors.base import Extractor

WEIGHTS = Path(__file__).with_suffix(".safetensors")
WEIGHTS_SHA256 = "c2d9eacdfafbf8953461bfbd5bf558c72a611f33be9e8656e4e3abbd48f3ebd6"
"""Of the shipped file, which defines the metric. The script that made it does not."""
STAGES = (("conv1", 3, 32, 5), ("conv2", 32, 64, 3), ("conv3", 64, 128, 3))
"""Name, channels in, channels out and kernel side of each convolution. All have stride 2."""
RANDOM_DEFINITION = "dcgan random network 1"
LAYOUT_DEFINITION = "dcgan layout network 1"
"""Part of the fingerprint. Change it with any change of the features."""
FIELDS = 4
"""Fields along each side. With 4 the dimension (499) is below the reference case's 527 photos, so
the covariance of their features has full rank."""
FIELD_WEIGHT = 0.7
"""Of the fields' colours. A larger weight hides changes of texture, a smaller one hides images
upside down (`benchmarks/evaluation/metric_response.py`)."""
COLOURS = 3
"""The first features of `random`: mean R, G, B."""


RANDOM_DIMENSION = 2 * (3 + sum(out for _, _, out, _ in STAGES))
LAYOUT_DIMENSION = COLOURS * FIELDS**2 + RANDOM_DIMENSION - COLOURS


def random_features(kernels: list[Tensor], images: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) → float32 (N, 454); any size >= 1, not resized.

    Three convolutions without bias, each followed by ReLU. Features are the mean and population
    standard deviation over all pixels of R, G, B (3 + 3), then of every channel after each stage
    (32 + 32, 64 + 64, 128 + 128).
    """
    stage = images.float() / 127.5 - 1.0
    parts = mean_and_std(stage)
    for kernel in kernels:
        stage = F.conv2d(stage, kernel, stride=2, padding=kernel.shape[-1] // 2).relu_()
        parts += mean_and_std(stage)
    return torch.cat(parts, dim=1)


def layout_features(kernels: list[Tensor], images: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) → float32 (N, 499): a thumbnail of 4 × 4 fields in place of mean colours.

    Features are mean R, then G, then B of each field, row by row, times 0.7 (48), then all of
    `random_features` but its mean R, G, B (451).
    """
    fields = F.adaptive_avg_pool2d(images.float() / 127.5 - 1.0, FIELDS)
    textures = random_features(kernels, images)[:, COLOURS:]
    return torch.cat([FIELD_WEIGHT * fields.flatten(1), textures], 1)


def load_random_network(name: str, device: torch.device, path: Path = WEIGHTS) -> Extractor:
    """The extractor `random` or `layout` with the shipped weights, on `device`.

    Raises `EvaluationError` if the file of weights is missing or is not the one that shipped.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EvaluationError(
            f"the random extractor's weights {path} cannot be read ({error.strerror}); "
            "install the package again"
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != WEIGHTS_SHA256:
        raise EvaluationError(
            f"the random extractor's weights {path} are not those that shipped (sha256 "
            f"{digest[:12]}… instead of {WEIGHTS_SHA256[:12]}…); install the package again"
        )
    weights = load_safetensors(content)
    kernels = [weights[stage].to(device) for stage, _, _, _ in STAGES]
    function, dimension = random_features, RANDOM_DIMENSION
    fingerprint = _hash(f"{RANDOM_DEFINITION}:{digest}")
    if name == "layout":
        function, dimension = layout_features, LAYOUT_DIMENSION
        fingerprint = _hash(f"{LAYOUT_DEFINITION}:{fingerprint}")
    return Extractor(
        name=name,
        frechet_name=f"fd_{name}",
        kernel_name=f"kd_{name}",
        dimension=dimension,
        fingerprint=fingerprint,
        source="shipped with the package",
        device=device,
        function=partial(function, kernels),
    )


def mean_and_std(channels: Tensor) -> list[Tensor]:
    """(N, C, H, W) -> [(N, C) mean, (N, C) population standard deviation] over H and W."""
    mean = channels.mean(dim=(2, 3))
    # As exact as torch.std_mean, which takes ten times as long on a CPU.
    variance = (channels - mean[:, :, None, None]).square_().mean(dim=(2, 3))
    return [mean, variance.sqrt_()]


def _hash(definition: str) -> str:
    return hashlib.sha256(definition.encode()).hexdigest()
