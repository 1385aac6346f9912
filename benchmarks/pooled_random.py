"""A candidate for the offline extractor: the random network with its last stage pooled 2 × 2.

Name it `benchmarks.pooled_random:pooled` wherever an extractor is asked for. Beside the statistics
that `random` has (d = 454), it keeps where in the picture the last stage's channels are active:
their means over each quarter of the picture instead of the whole (d = 838).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dcgan.metrics.random_network import load_random_network, mean_and_std


def pooled(images: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) → float32 (N, 838)."""
    kernels = load_random_network(images.device).kernels
    stage = images.float() / 127.5 - 1.0
    parts = mean_and_std(stage)
    for kernel in kernels:
        stage = F.conv2d(stage, kernel, stride=2, padding=kernel.shape[-1] // 2).relu()
        parts += mean_and_std(stage)
    parts[-1] = F.adaptive_avg_pool2d(stage, 2).flatten(1)
    return torch.cat(parts, dim=1)


# What the features depend on beside this file: part of the extractor's fingerprint.
pooled.fingerprint = load_random_network(torch.device("cpu")).fingerprint  # type: ignore[attr-defined]
