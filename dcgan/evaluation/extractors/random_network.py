"""The extractors that need no download: a small fixed random network.

`random` (`fd_random`) describes an image by statistics over all its pixels. `layout` (`fd_layout`)
adds where the colours are. docs/metrics.md shows what each of them sees. The weights are in the
file beside this module, made by `benchmarks/evaluation/make_random_network.py`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load as load_safetensors
from torch import Tensor

from dcgan.errors import EvaluationError

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


class RandomNetwork:
    """Three convolutions without bias, each followed by ReLU; features are channel statistics.

    d = 454: mean and population standard deviation over all pixels of R, G, B (3 + 3), then of
    every channel after each stage (32 + 32, 64 + 64, 128 + 128).
    """

    name = "random"
    frechet_name = "fd_random"
    kernel_name = "kd_random"
    source = "shipped with the package"
    dimension = 2 * (3 + sum(out for _, _, out, _ in STAGES))

    def __init__(self, weights: dict[str, Tensor], weights_sha256: str) -> None:
        self.fingerprint = _hash(f"{RANDOM_DEFINITION}:{weights_sha256}")
        self.kernels = [weights[name] for name, _, _, _ in STAGES]

    @property
    def device(self) -> torch.device:
        """Device of the images."""
        return self.kernels[0].device

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) on `device` -> float32 (N, 454); any size >= 1, not resized."""
        stage = images.float() / 127.5 - 1.0
        parts = mean_and_std(stage)
        for kernel in self.kernels:
            stage = F.conv2d(stage, kernel, stride=2, padding=kernel.shape[-1] // 2).relu_()
            parts += mean_and_std(stage)
        return torch.cat(parts, dim=1)


class LayoutNetwork:
    """`random` with a thumbnail of 4 × 4 fields in place of the mean colour.

    d = 499: mean R, then G, then B of each field, row by row, times 0.7 (48), then all of
    `random`'s features but its mean R, G, B (451).
    """

    name = "layout"
    frechet_name = "fd_layout"
    kernel_name = "kd_layout"
    source = "shipped with the package"
    dimension = COLOURS * FIELDS**2 + RandomNetwork.dimension - COLOURS

    def __init__(self, network: RandomNetwork) -> None:
        self.network = network
        self.fingerprint = _hash(f"{LAYOUT_DEFINITION}:{network.fingerprint}")

    @property
    def device(self) -> torch.device:
        """Device of the images."""
        return self.network.device

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) on `device` -> float32 (N, 499); any size >= 1, not resized."""
        fields = F.adaptive_avg_pool2d(images.float() / 127.5 - 1.0, FIELDS)
        return torch.cat([FIELD_WEIGHT * fields.flatten(1), self.network(images)[:, COLOURS:]], 1)


def load_random_network(device: torch.device, path: Path = WEIGHTS) -> RandomNetwork:
    """The network with the shipped weights, on `device`.

    Raises:
        EvaluationError: the file is missing or is not the one that shipped.
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
    weights = {name: tensor.to(device) for name, tensor in load_safetensors(content).items()}
    return RandomNetwork(weights, digest)


def load_layout_network(device: torch.device, path: Path = WEIGHTS) -> LayoutNetwork:
    """`load_random_network` with the thumbnail. The same errors."""
    return LayoutNetwork(load_random_network(device, path))


def mean_and_std(channels: Tensor) -> list[Tensor]:
    """(N, C, H, W) -> [(N, C) mean, (N, C) population standard deviation] over H and W."""
    mean = channels.mean(dim=(2, 3))
    # As exact as torch.std_mean, which takes ten times as long on a CPU.
    variance = (channels - mean[:, :, None, None]).square_().mean(dim=(2, 3))
    return [mean, variance.sqrt_()]


def _hash(definition: str) -> str:
    return hashlib.sha256(definition.encode()).hexdigest()
