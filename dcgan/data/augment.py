"""Random changes to a batch of photos, drawn separately for each photo, on the photos' device.

An augmentation is a function under `@augmentation` that reads its own fields of `AugmentConfig`.
`augment` applies all of them in the order of this file.

Every function takes and returns float images `(N, 3, S, S)` in [0, 1] and is differentiable. A CUDA
graph can hold all of them, because none reads from the device: only the config decides which code
runs, and parameters are not checked. Each transform computes what the function of the same name in
`torchvision.transforms.functional` (`hflip` for `flip_horizontal`) computes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from dcgan.config.train_config import AugmentConfig

GREY_WEIGHTS = (0.2989, 0.587, 0.114)
"""Share of red, green and blue in an image's grey version (ITU-R 601-2 luma, torchvision's)."""


class Draws(NamedTuple):
    """One number in [0, 1) per image and use, each `(N,)`.

    Another field or order changes every recorded run. A new augmentation takes a `spare` number.
    """

    rotation: Tensor
    flip: Tensor
    brightness: Tensor
    saturation: Tensor
    hue: Tensor
    blur: Tensor
    # Colour operations are applied in ascending order of these three.
    brightness_rank: Tensor
    saturation_rank: Tensor
    hue_rank: Tensor

    def spare(self, which: int) -> Tensor:
        """One of nine more numbers in [0, 1) per image, `(N,)`; use each for one purpose.

        They are sums of the drawn numbers modulo 1, so the random stream does not change. The
        matrix of these sums is invertible, so the nine are uniform, and independent of each other
        and of any one of the drawn numbers.
        """
        return (torch.stack(self).sum(dim=0) + self[which]) % 1


Augmentation: TypeAlias = Callable[[Tensor, AugmentConfig, Draws], Tensor]
AUGMENTATIONS: list[Augmentation] = []
"""What `augment` applies, in this order."""


def augmentation(function: Augmentation) -> Augmentation:
    """Add a function, which returns the images themselves if its strength is 0."""
    AUGMENTATIONS.append(function)
    return function


def augment(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Rotate, mirror, jitter the colours of and blur each image: float `(N, 3, S, S)` in [0, 1].

    These are torchvision's `RandomRotation`, `RandomHorizontalFlip`, `ColorJitter` (in random
    order) and `GaussianBlur` with parameters drawn for each image, uniform over the ranges in
    `config`. All numbers are always drawn: switching one augmentation off changes no other.

    Args:
        images: S is more than half of the longer kernel side.
        config: strengths; an augmentation of strength 0 is skipped and costs nothing.
        generator: on the device of `images`. It is advanced by one draw of `(N, 9)` numbers.
    """
    size = (len(images), len(Draws._fields))
    draws = Draws(*torch.rand(size, generator=generator, device=images.device).unbind(1))
    for apply in AUGMENTATIONS:
        images = apply(images, config, draws)
    return images


# Interpolation weights sum to 1 only up to rounding, so their results are clamped to [0, 1].


@augmentation
def _rotation(images: Tensor, config: AugmentConfig, draws: Draws) -> Tensor:
    limit = config.rotation_degrees
    if limit == 0:
        return images
    return rotate(images, _uniform(draws.rotation, -limit, limit)).clamp_(0, 1)


@augmentation
def _flip(images: Tensor, config: AugmentConfig, draws: Draws) -> Tensor:
    return flip_horizontal(images, draws.flip < config.flip) if config.flip > 0 else images


@augmentation
def _colour(images: Tensor, config: AugmentConfig, draws: Draws) -> Tensor:
    """Apply the enabled ones of brightness, saturation and hue in each image's own order.

    One fixed sequence serves all orders: brightness, saturation, brightness, hue, and the first
    three again. A factor that an image does not need at its place is 1, which changes nothing. Hue,
    by far the most expensive, is done once.
    """
    brightness = _uniform(draws.brightness, max(0.0, 1 - config.brightness), 1 + config.brightness)
    saturation = _uniform(draws.saturation, max(0.0, 1 - config.saturation), 1 + config.saturation)
    brightness_first = draws.brightness_rank < draws.saturation_rank

    def without_hue(images: Tensor, brightness: Tensor, saturation: Tensor) -> Tensor:
        if config.saturation == 0:
            return adjust_brightness(images, brightness) if config.brightness > 0 else images
        if config.brightness == 0:
            return adjust_saturation(images, saturation)
        images = adjust_brightness(images, torch.where(brightness_first, brightness, 1))
        images = adjust_saturation(images, saturation)
        return adjust_brightness(images, torch.where(brightness_first, 1, brightness))

    if config.hue == 0:
        return without_hue(images, brightness, saturation)
    b_before = draws.brightness_rank < draws.hue_rank
    s_before = draws.saturation_rank < draws.hue_rank
    images = without_hue(
        images, torch.where(b_before, brightness, 1), torch.where(s_before, saturation, 1)
    )
    images = adjust_hue(images, _uniform(draws.hue, -config.hue, config.hue))
    return without_hue(
        images, torch.where(b_before, 1, brightness), torch.where(s_before, 1, saturation)
    )


@augmentation
def _blur(images: Tensor, config: AugmentConfig, draws: Draws) -> Tensor:
    if config.blur_sigma[1] == 0:
        return images
    sigma = _uniform(draws.blur, *config.blur_sigma)
    return gaussian_blur(images, sigma, config.blur_kernel).clamp_(0, 1)


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotate each image counter-clockwise by its degrees, float `(N,)`. New corners are black."""
    size = images.shape[-1]
    angle = torch.deg2rad(degrees.to(images.dtype)).view(-1, 1, 1)
    # Pixel centres in grid_sample's coordinates: the image spans -1..1, y points down.
    centres = (torch.arange(size, device=images.device, dtype=images.dtype) * 2 + 1) / size - 1
    x, y = centres.view(1, 1, size), centres.view(1, size, 1)
    # Where each output pixel comes from. Not F.affine_grid: CUDA refuses its matrix product under
    # deterministic algorithms unless CUBLAS_WORKSPACE_CONFIG is set.
    source_x = torch.cos(angle) * x - torch.sin(angle) * y
    source_y = torch.sin(angle) * x + torch.cos(angle) * y
    grid = torch.stack([source_x, source_y], dim=-1)  # (N, S, S, 2)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def flip_horizontal(images: Tensor, mask: Tensor) -> Tensor:
    """Mirror the images where `mask`, bool `(N,)`, is true."""
    return torch.where(mask.view(-1, 1, 1, 1), images.flip(-1), images)


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply each image by its factor, float `(N,)`, at least 0, and clamp to [0, 1]."""
    return (images * _per_image(factor, images)).clamp_(0, 1)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Move each image away from its grey version (towards it below 1) and clamp to [0, 1].

    `factor` is float `(N,)`, at least 0; 0 makes an image grey, 1 leaves it exactly as it is.
    """
    red, green, blue = images.chunk(3, dim=1)  # each (N, 1, S, S)
    grey = GREY_WEIGHTS[0] * red + GREY_WEIGHTS[1] * green + GREY_WEIGHTS[2] * blue
    return torch.lerp(grey, images, _per_image(factor, images)).clamp_(0, 1)


def adjust_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turn each image's hues around the colour wheel. Value and saturation (HSV) stay.

    `shift` is float `(N,)` in turns, in [-0.5, 0.5]. 1/3 turns red into green. 0 changes an image
    by rounding only (about 1e-6), as in torchvision.
    """
    red, green, blue = images.chunk(3, dim=1)  # each (N, 1, S, S)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    # The hue in sixths of a turn, red at 0. Grey has no hue and gets 0. Dividing by 1 there keeps
    # the gradient finite.
    divisor = torch.where(chroma == 0, 1, chroma)
    sixths = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    # Back to RGB without six cases. A channel is `value` up to a sixth of a turn from its own hue
    # (red 0, green 2, blue 4), `value - chroma` from two sixths on, and linear between.
    primaries = 2 * torch.arange(3, device=images.device).view(1, 3, 1, 1)
    turned = sixths + 6 * _per_image(shift, images) - primaries  # (N, 3, S, S)
    turned = turned - 6 * torch.floor(turned / 6)
    distance = 3 - (turned - 3).abs()
    return value - chroma * (distance - 1).clamp_(0, 1)


def gaussian_blur(images: Tensor, sigma: Tensor, kernel_size: tuple[int, int]) -> Tensor:
    """Blur each image with a Gaussian cut off at the kernel's edges. Borders are reflected.

    `sigma` is float `(N,)` in pixels, at least 0; 0 leaves an image as it is. `kernel_size` is
    width and height in pixels, both odd and less than twice the image's side.
    """
    count, channels, side, _ = images.shape
    width, height = kernel_size
    padding = (width // 2, width // 2, height // 2, height // 2)
    padded = F.pad(images, padding, mode="reflect")
    # A Gaussian is a column blur after a row blur. Every channel of every image is a group of one
    # convolution, because each image has its own weights.
    planes = padded.reshape(1, count * channels, *padded.shape[2:])
    for window in ((1, width), (height, 1)):
        weights = _gaussian(sigma.to(images.dtype), max(window)).repeat_interleave(channels, 0)
        weights = weights.view(count * channels, 1, *window)
        planes = F.conv2d(planes, weights, groups=count * channels)
    return planes.view(count, channels, side, side)


def _per_image(parameter: Tensor, images: Tensor) -> Tensor:
    return parameter.to(images.dtype).view(-1, 1, 1, 1)


def _uniform(draw: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * draw


def _gaussian(sigma: Tensor, taps: int) -> Tensor:
    """Weights `(N, taps)` of centred Gaussians, each row summing to 1."""
    offsets = torch.arange(taps, device=sigma.device, dtype=sigma.dtype) - taps // 2
    # The minimum avoids 0/0: so narrow a Gaussian has all its weight in the middle.
    weights = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-6).unsqueeze(1)) ** 2)
    return weights / weights.sum(dim=1, keepdim=True)
