"""A small fixed random network, no download (`fd_random`); `layout`, the default, is built on it.

It sees colour, texture and diversity and is nearly blind to what is shown, so it ranks runs of one
study; it does not say how cat-like a picture is. The weights ship beside this file; the script
that made them is `benchmarks/evaluation/make_random_network.py`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load as load_safetensors
from torch import Tensor

from dcgan.errors import EvaluationError

STAGES = (("conv1", 3, 32, 5), ("conv2", 32, 64, 3), ("conv3", 64, 128, 3))
"""Name, channels in, channels out and kernel side of each convolution; all have stride 2."""
DEFINITION = "dcgan random network 1"
"""Changes with anything below that changes the features, and so the fingerprint."""
WEIGHTS = Path(__file__).with_name("random_network.safetensors")
WEIGHTS_SHA256 = "c2d9eacdfafbf8953461bfbd5bf558c72a611f33be9e8656e4e3abbd48f3ebd6"
"""Of the shipped file, which is what defines the metric (not the script that made it)."""


class RandomNetwork:
    """Three convolutions without bias, each followed by ReLU; features are channel statistics.

    d = 454: mean and standard deviation over all pixels of R, G, B (3 + 3), then of every channel
    after each stage (32 + 32, 64 + 64, 128 + 128). The standard deviation is the population's
    (divided by the number of pixels): defined for a single pixel, 0 for a constant image, and in
    no need of an epsilon, because no gradient passes.
    """

    name = "random"
    frechet_name = "fd_random"
    kernel_name = "kd_random"
    source = "shipped with the package"
    dimension = 2 * (3 + sum(out for _, _, out, _ in STAGES))

    def __init__(self, weights: dict[str, Tensor], fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self.kernels = [weights[name] for name, _, _, _ in STAGES]

    @property
    def device(self) -> torch.device:
        """Where the images must be."""
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


def load_random_network(device: torch.device, path: Path = WEIGHTS) -> RandomNetwork:
    """Read the shipped weights, check their hash and place them on `device`.

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
    fingerprint = hashlib.sha256(f"{DEFINITION}:{digest}".encode()).hexdigest()
    weights = {name: tensor.to(device) for name, tensor in load_safetensors(content).items()}
    return RandomNetwork(weights, fingerprint)


def mean_and_std(channels: Tensor) -> list[Tensor]:
    """(N, C, H, W) -> [(N, C) mean, (N, C) population standard deviation] over H and W."""
    mean = channels.mean(dim=(2, 3))
    # Two passes: as exact as torch.std_mean, which takes ten times as long on a CPU.
    variance = (channels - mean[:, :, None, None]).square_().mean(dim=(2, 3))
    return [mean, variance.sqrt_()]
