"""Weights for Inception where the canonical ones cannot be had: random, of a sensible size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn


def pictures(count: int, height: int, width: int, seed: int) -> Tensor:
    """uint8 (count, 3, height, width): coarse blocks of colour under noise."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (count, 3, 4, 4)).repeat(height // 4, 2).repeat(width // 4, 3)
    noisy = blocks + rng.normal(0.0, 20.0, blocks.shape)
    return torch.from_numpy(noisy.round().clip(0, 255).astype(np.uint8))


def write_random_weights(path: Path) -> None:
    """A state dict of random weights; BatchNorm holds what a batch of pictures gave each layer."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Untrained(FeatureExtractorInceptionV3):
        def load_state_dict(self, *_):
            pass

    torch.save({}, path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Untrained("inception", ["2048"], path).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network(pictures(6, 64, 64, seed=0))
    torch.save(network.state_dict(), path)
