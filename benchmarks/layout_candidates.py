"""What else the default offline extractor could have been: `layout`'s rivals.

Name one wherever an extractor is asked for: `--extractor benchmarks.layout_candidates:pooled`.

- `pooled` (d = 838): `random` with the means of its last stage over each quarter of the picture;
- `heavier`, `lighter` (d = 499): `layout` with its thumbnail times 1 and 0.5 instead of 0.7.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dcgan.evaluation.extractors.random_network import (
    COLOURS,
    FIELD_WEIGHT,
    FIELDS,
    load_layout_network,
    load_random_network,
    mean_and_std,
)


def pooled(images: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) → float32 (N, 838)."""
    kernels = load_random_network(images.device).kernels
    stage = images.float() / 127.5 - 1.0
    parts = mean_and_std(stage)
    for kernel in kernels:
        stage = F.conv2d(stage, kernel, stride=2, padding=kernel.shape[-1] // 2).relu()
        parts += mean_and_std(stage)
    parts[-2] = F.adaptive_avg_pool2d(stage, 2).flatten(1)  # in place of the last stage's means
    return torch.cat(parts, dim=1)


def heavier(images: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) → float32 (N, 499)."""
    return layout_with(1.0, images)


def lighter(images: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) → float32 (N, 499)."""
    return layout_with(0.5, images)


def layout_with(field_weight: float, images: Tensor) -> Tensor:
    """`layout` with another weight of its thumbnail."""
    features = load_layout_network(images.device)(images)
    fields = COLOURS * FIELDS**2
    return torch.cat(
        [features[:, :fields] * (field_weight / FIELD_WEIGHT), features[:, fields:]], 1
    )


# What the features depend on beside this file: part of each extractor's fingerprint.
for candidate in (pooled, heavier, lighter):
    network = load_layout_network(torch.device("cpu"))
    candidate.fingerprint = network.fingerprint  # type: ignore[attr-defined]
