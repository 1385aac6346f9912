"""DiffAugment against torchvision and the published formulas, image by image, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.transforms import functional as reference

from dcgan.config.train_config import AugmentConfig
from dcgan.data.diff_augment import (
    DiffDraws,
    change_brightness,
    change_contrast,
    change_saturation,
    diff_augment,
    draw,
    hide_square,
    is_on,
    shift_limit,
    translate,
)

EVERYTHING = AugmentConfig(diff_translation=1, diff_colour=1, diff_cutout=1)


def some_images(count: int = 6, side: int = 16) -> Tensor:
    rng = torch.Generator().manual_seed(3)
    return torch.rand((count, 3, side, side), generator=rng, dtype=torch.float64) * 2 - 1


def drawn(count: int, seed: int = 0, **fixed: float) -> Tensor:
    """Draws for `count` images, some fields set to one number."""
    numbers = draw(count, torch.Generator().manual_seed(seed))
    for name, value in fixed.items():
        numbers[:, DiffDraws._fields.index(name)] = value
    return numbers


def test_translation_is_torchvisions() -> None:
    images = some_images()
    down, right = torch.tensor([0, 2, -2, 1, -1, 2]), torch.tensor([0, -2, 2, 0, 1, 1])
    moved = translate(images, down, right, limit=2)
    for image, result, y, x in zip(images, moved, down.tolist(), right.tolist(), strict=True):
        expected = reference.affine(image, angle=0, translate=[x, y], scale=1, shear=[0, 0])
        torch.testing.assert_close(result, expected, rtol=0, atol=0)


def test_a_hidden_square_is_torchvisions() -> None:
    images, side = some_images(5), 16
    top, left = torch.tensor([0, 4, -4, 12, side]), torch.tensor([8, 0, -4, 12, 0])
    for image, result, y, x in zip(
        images, hide_square(images, top, left, 8), top.tolist(), left.tolist(), strict=True
    ):
        low_y, low_x = max(y, 0), max(x, 0)
        height, width = max(min(y + 8, side) - low_y, 0), max(min(x + 8, side) - low_x, 0)
        expected = reference.erase(image, low_y, low_x, height, width, torch.tensor(0.0))
        torch.testing.assert_close(result, expected, rtol=0, atol=0)


def test_colours_are_the_published_formulas() -> None:
    images, factors = some_images(4), torch.tensor([0.0, 0.5, 1.0, 1.9])
    for number, (image, factor) in enumerate(zip(images, factors.tolist(), strict=True)):
        grey = sum(image[channel] for channel in range(3)) / 3
        saturated = torch.stack([(image[c] - grey) * factor + grey for c in range(3)])
        torch.testing.assert_close(change_saturation(images, factors.double())[number], saturated)
        contrasted = (image - image.mean()) * factor + image.mean()
        torch.testing.assert_close(change_contrast(images, factors.double())[number], contrasted)
        torch.testing.assert_close(
            change_brightness(images, factors.double())[number], image + factor
        )


@pytest.mark.parametrize("name", ["diff_translation", "diff_colour", "diff_cutout"])
def test_each_change_has_its_own_probability(name: str) -> None:
    images = some_images(1).expand(2000, 3, 16, 16)
    changed = diff_augment(images, AugmentConfig(**{name: 0.3}), drawn(2000))
    share = float((changed != images).flatten(1).any(dim=1).double().mean())
    # A shift of nothing (1 in 25) changes nothing.
    expected = 0.3 * (24 / 25) if name == "diff_translation" else 0.3
    assert share == pytest.approx(expected, abs=0.035)  # more than three standard errors


def test_shifts_and_squares_take_every_place_equally_often() -> None:
    count, side = 6000, 16
    images = torch.ones(count, 3, side, side)
    moved = diff_augment(images, AugmentConfig(diff_translation=1), drawn(count))[:, 0]
    first_row = moved.any(dim=2).int().argmax(dim=1) - moved.any(dim=2).flip(1).int().argmax(dim=1)
    shares = torch.bincount(first_row + 2, minlength=5) / count
    torch.testing.assert_close(shares, torch.full((5,), 0.2), rtol=0, atol=0.025)
    holes = diff_augment(images, AugmentConfig(diff_cutout=1), drawn(count))[:, 0] == 0
    height = holes.any(dim=2).sum(dim=1)
    # Its centre is on one of the 17 lines between and around the pixels.
    assert height.max() == 8
    assert height.min() == 4
    assert float((height == 8).double().mean()) == pytest.approx(9 / 17, abs=0.03)


def test_the_largest_numbers_stay_within_the_limits() -> None:
    almost_one = float(torch.nextafter(torch.tensor(1.0), torch.tensor(0.0)))
    numbers = drawn(2, shift_y=almost_one, shift_x=0.0, shifted=0.0)
    moved = diff_augment(torch.ones(2, 3, 64, 64), AugmentConfig(diff_translation=1), numbers)
    assert shift_limit(64) == 8
    assert moved[0, 0].nonzero().min(dim=0).values.tolist() == [8, 0]
    assert moved[0, 0].nonzero().max(dim=0).values.tolist() == [63, 55]


def test_gradients_reach_the_images() -> None:
    numbers = drawn(2, seed=1).double()
    images = some_images(2, 8).requires_grad_(True)

    def change(images: Tensor) -> Tensor:
        return diff_augment(images, EVERYTHING, numbers)

    assert torch.autograd.gradcheck(change, images)


def test_nothing_is_on_by_default() -> None:
    assert not is_on(AugmentConfig())
    for name in ("diff_translation", "diff_colour", "diff_cutout"):
        assert is_on(AugmentConfig(**{name: 0.1}))
