"""dcgan.data.augment against torchvision, and the statistics of its draws.

Most statistics are read off the pictures: `augment` on an image chosen so that the parameter
shows (brightness on mid-grey, the angle from where a bright dot goes, ...).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import pytest
import torch
import torchvision.transforms.functional as TF
from scipy import stats  # type: ignore[import-untyped]
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from dcgan.config.train_config import AugmentConfig
from dcgan.data.augment import (
    AUGMENTATIONS,
    Draws,
    adjust_brightness,
    adjust_hue,
    adjust_saturation,
    augment,
    augmentation,
    flip_horizontal,
    gaussian_blur,
    rotate,
)

OFF = AugmentConfig(brightness=0, saturation=0, blur_sigma=(0, 0))
EVERYTHING = AugmentConfig(
    rotation_degrees=10, brightness=0.3, saturation=0.4, hue=0.2, flip=0.5, blur_sigma=(0.1, 1.2)
)
SINGLES = {
    "rotation": OFF.model_copy(update={"rotation_degrees": 25.0}),
    "flip": OFF.model_copy(update={"flip": 0.5}),
    "brightness": OFF.model_copy(update={"brightness": 0.2}),
    "saturation": OFF.model_copy(update={"saturation": 0.2}),
    "hue": OFF.model_copy(update={"hue": 0.1}),
    "blur": OFF.model_copy(update={"blur_sigma": (0.1, 1.2)}),
}
GREY = (0.2989, 0.587, 0.114)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The tensors are tiny: on a busy machine threads would mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photos(count: int = 6, side: int = 32, dtype: torch.dtype = torch.float32) -> Tensor:
    """Noise with what photos also have: flat areas, black, white, greys, pure and tied colours."""
    images = torch.rand(count, 3, side, side, generator=rng(7), dtype=dtype)
    images[:, :, :4, :4] = 0
    images[:, :, :4, -4:] = 1
    images[:, :, 4:8] = images[:, :1, 4:8]  # greys
    images[:, 0, 8:10], images[:, 1:, 8:10] = 1, 0  # pure red
    images[:, 1, 10:12] = images[:, 2, 10:12]  # two equal channels
    return images


def flat(colour: tuple[float, float, float], count: int, side: int = 1) -> Tensor:
    return torch.tensor(colour).view(1, 3, 1, 1).expand(count, 3, side, side).contiguous()


def each(images: Tensor, function: Callable[[Tensor, float], Tensor], values: Tensor) -> Tensor:
    """A torchvision function on one image at a time."""
    pairs = zip(images, values.tolist(), strict=True)
    return torch.stack([function(image, value) for image, value in pairs])


# --- against torchvision -------------------------------------------------------------------------


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("angle", [0.0, 3.3, 10.0, -10.0, 45.0, 90.0, -137.0, 180.0])
def test_rotate_matches_torchvision(side: int, angle: float) -> None:
    images = photos(4, side)
    angles = torch.tensor([angle, -angle, angle / 2, angle + 1])
    expected = each(images, lambda i, a: TF.rotate(i, a, TF.InterpolationMode.BILINEAR), angles)
    # A source position is a float32 of up to `side` pixels: an error of about 1e-7 × side pixels
    # times a slope of at most 2 per pixel (noise, two axes).
    torch.testing.assert_close(rotate(images, angles), expected, rtol=0, atol=4e-7 * side)


def test_rotate_is_counter_clockwise_with_black_corners() -> None:
    images = torch.zeros(2, 3, 32, 32)
    images[:, :, 15:17, 28] = 1  # at three o'clock
    up, down = rotate(images, torch.tensor([90.0, -90.0]))
    assert up[:, 3, 15:17].min() > 0.999
    assert down[:, 28, 15:17].min() > 0.999
    corners = rotate(torch.ones(1, 3, 32, 32), torch.tensor([45.0]))[
        0, :, [0, 0, -1, -1], [0, -1] * 2
    ]
    assert corners.abs().max() == 0


def test_flip_mirrors_only_the_masked_left_right() -> None:
    images = photos(3)
    flipped = flip_horizontal(images, torch.tensor([True, False, True]))
    expected = torch.stack([TF.hflip(images[0]), images[1], TF.hflip(images[2])])
    torch.testing.assert_close(flipped, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (adjust_brightness, TF.adjust_brightness),
        (adjust_saturation, TF.adjust_saturation),
    ],
)
def test_colour_factors_match_torchvision(
    ours: Callable[[Tensor, Tensor], Tensor], theirs: Callable[[Tensor, float], Tensor]
) -> None:
    images = photos(7)
    factors = torch.tensor([0.0, 0.5, 0.8, 1.0, 1.2, 1.7, 2.0])
    actual = ours(images, factors)
    torch.testing.assert_close(actual, each(images, theirs, factors), rtol=0, atol=1e-6)
    assert torch.equal(actual[3], images[3])  # factor 1
    assert actual.min() >= 0
    assert actual.max() <= 1


def test_hue_matches_torchvision() -> None:
    images = photos(9)
    shifts = torch.tensor([-0.5, -0.21, -0.1, -1 / 6, 0.0, 0.1, 1 / 3, 0.4999, 0.5])
    expected = each(images, TF.adjust_hue, shifts)
    # A hue (of 1) is off by a few float32 roundings, about 2e-7; a channel crosses its range in
    # a sixth of a turn, so that becomes six times as much. Both sides have such an error.
    torch.testing.assert_close(adjust_hue(images, shifts), expected, rtol=0, atol=4e-6)


def test_hue_turns_red_to_green_to_blue() -> None:
    red, green, blue = flat((0.8, 0.1, 0.1), 1), flat((0.1, 0.8, 0.1), 1), flat((0.1, 0.1, 0.8), 1)
    third = torch.tensor([1 / 3])
    torch.testing.assert_close(adjust_hue(red, third), green)
    torch.testing.assert_close(adjust_hue(green, third), blue)
    torch.testing.assert_close(adjust_hue(red, -third), blue)


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("kernel", [(5, 9), (9, 5), (3, 3), (1, 7), (31, 1), (1, 1)])
def test_blur_matches_torchvision(side: int, kernel: tuple[int, int]) -> None:
    images = photos(5, side)
    sigmas = torch.tensor([0.1, 0.6, 1.2, 5.0, 100.0])
    expected = each(images, lambda i, s: TF.gaussian_blur(i, list(kernel), [s, s]), sigmas)
    torch.testing.assert_close(gaussian_blur(images, sigmas, kernel), expected, rtol=0, atol=2e-6)


def test_blur_kernel_is_width_then_height() -> None:
    dot = torch.zeros(1, 3, 32, 32)
    dot[:, :, 16, 16] = 1
    blurred = gaussian_blur(dot, torch.tensor([50.0]), (5, 9))[0, 0]
    rows, columns = (blurred.sum(1) > 0).nonzero(), (blurred.sum(0) > 0).nonzero()
    assert columns.flatten().tolist() == list(range(14, 19))
    assert rows.flatten().tolist() == list(range(12, 21))


def test_blur_of_sigma_zero_is_the_identity() -> None:
    images = photos(2)
    assert torch.equal(gaussian_blur(images, torch.zeros(2), (5, 9)), images)


# --- one batch -----------------------------------------------------------------------------------


def test_everything_off_returns_the_same_images_and_draws_as_ever() -> None:
    images, off, on = photos(), rng(3), rng(3)
    assert augment(images, OFF, off) is images
    augment(images, EVERYTHING, on)
    assert torch.equal(off.get_state(), on.get_state())
    assert not torch.equal(off.get_state(), rng(3).get_state())


@pytest.mark.parametrize("config", [AugmentConfig(), EVERYTHING, *SINGLES.values()])
def test_output_is_like_the_input_and_within_0_1(config: AugmentConfig) -> None:
    images = photos(64)
    before = images.clone()
    result = augment(images, config, rng())
    assert (result.shape, result.dtype) == (images.shape, images.dtype)
    assert torch.equal(images, before)  # not in place
    assert not torch.equal(result, images)
    assert result.min() >= 0
    assert result.max() <= 1


@pytest.mark.parametrize("strength", [{"rotation_degrees": 45.0}, {"blur_sigma": (0.1, 1.2)}])
def test_white_stays_within_0_1(strength: dict[str, object]) -> None:
    """Interpolation weights may add up to a little more than 1."""
    config = OFF.model_copy(update=strength)
    assert augment(torch.ones(64, 3, 32, 32), config, rng()).max() <= 1


def test_same_seed_same_images_other_seed_others() -> None:
    images = photos()
    first = augment(images, EVERYTHING, rng(5))
    assert torch.equal(first, augment(images, EVERYTHING, rng(5)))
    assert not torch.equal(first, augment(images, EVERYTHING, rng(6)))
    generator = rng(5)
    augment(images, EVERYTHING, generator)
    assert not torch.equal(first, augment(images, EVERYTHING, generator))


def test_an_image_depends_on_nothing_but_itself() -> None:
    images = photos(8)
    whole = augment(images, EVERYTHING, rng())
    others = images.clone()
    others[:3], others[4:] = 0.25, torch.rand(4, 3, 32, 32, generator=rng(1))
    torch.testing.assert_close(augment(others, EVERYTHING, rng())[3], whole[3], rtol=0, atol=1e-6)


def test_sequence_is_rotation_flip_colour_blur() -> None:
    """Everything together is each alone, one after the other, with the same draws."""
    images, expected = photos(16), photos(16)
    stages: list[dict[str, object]] = [
        {"rotation_degrees": 10.0},
        {"flip": 0.5},
        {"brightness": 0.3, "saturation": 0.4, "hue": 0.2},
        {"blur_sigma": (0.1, 1.2)},
    ]
    for stage in stages:
        expected = augment(expected, OFF.model_copy(update=stage), rng())
    torch.testing.assert_close(augment(images, EVERYTHING, rng()), expected, rtol=0, atol=1e-6)


def test_toggling_rotation_leaves_the_other_draws() -> None:
    # A flat image's middle stays flat when turned, so only the other draws show there.
    images = flat((0.2, 0.5, 0.4), 64, side=32)
    plain = augment(images, EVERYTHING.model_copy(update={"rotation_degrees": 0}), rng())
    turned = augment(images, EVERYTHING, rng())
    middle = (..., slice(14, 18), slice(14, 18))
    torch.testing.assert_close(turned[middle], plain[middle], rtol=0, atol=1e-5)
    assert not torch.allclose(turned, plain, atol=1e-2)


# --- one more augmentation ------------------------------------------------------------------------


class WithNegatives(AugmentConfig):
    """The settings with one more field."""

    negative: float = 0.0


@pytest.fixture
def negative() -> Iterator[None]:
    """Add an augmentation as the documentation says, for one test."""

    @augmentation
    def negative(images: Tensor, config: AugmentConfig, draws: Draws) -> Tensor:
        assert isinstance(config, WithNegatives)
        if config.negative == 0:
            return images
        chosen = (draws.spare(0) < config.negative).view(-1, 1, 1, 1)
        return torch.where(chosen, 1 - images, images)

    yield
    AUGMENTATIONS.remove(negative)


@pytest.mark.usefixtures("negative")
def test_an_augmentation_is_one_function_and_one_field() -> None:
    """It leaves the draws of the others, and of later batches, as they were."""
    images, streams = photos(400, 16), [rng(3) for _ in range(3)]
    before = dict(EVERYTHING)
    off, half, on = (WithNegatives(**before, negative=share) for share in (0.0, 0.5, 1.0))
    plain = augment(images, off, streams[0])
    assert torch.equal(augment(images, on, streams[1]), 1 - plain)
    mixed = augment(images, half, streams[2])
    changed = (mixed != plain).flatten(1).any(dim=1)
    assert 160 < int(changed.sum()) < 240
    assert torch.equal(mixed[changed], 1 - plain[changed])
    states = [stream.get_state() for stream in streams]
    assert all(torch.equal(state, states[0]) for state in states)


def test_spare_numbers_are_uniform_and_independent_of_the_drawn_ones() -> None:
    drawn = torch.rand(20_000, 9, generator=rng(5))
    draws = Draws(*drawn.unbind(1))
    spare = [draws.spare(which) for which in range(9)]
    for which, numbers in enumerate(spare):
        assert_uniform(numbers, 0.0, 1.0)
        for other in [*draws, *spare[:which]]:
            assert abs(float(torch.corrcoef(torch.stack([numbers, other]))[0, 1])) < 0.03
            assert_uniform((numbers + other) % 1, 0.0, 1.0)
            assert_uniform((numbers - other) % 1, 0.0, 1.0)


# --- the draws -----------------------------------------------------------------------------------


def factors(name: str, config: AugmentConfig, count: int) -> Tensor:
    """What `augment` drew with seed 0, read off its output with all but `name` off."""
    single = OFF.model_copy(update={name: getattr(config, name)})
    if name == "brightness":
        return augment(flat((0.3, 0.3, 0.3), count), single, rng()).mean((1, 2, 3)) / 0.3
    if name == "saturation":
        colour = torch.tensor((0.5, 0.4, 0.45))
        grey = (colour * torch.tensor(GREY)).sum()
        result = augment(flat((0.5, 0.4, 0.45), count), single, rng())
        return (result[:, 0, 0, 0] - grey) / (colour[0] - grey)
    # Up to a third of a turn, a pure yellow-green keeps G at 1 and shows its hue in R and B.
    assert name == "hue"
    assert config.hue <= 1 / 6
    result = augment(flat((0.0, 1.0, 0.0), count), single, rng())
    return (result[:, 2, 0, 0] - result[:, 0, 0, 0]) / 6


def assert_uniform(values: Tensor, low: float, high: float) -> None:
    assert low - 1e-6 <= values.min() < low + (high - low) * 0.01
    assert high - (high - low) * 0.01 < values.max() <= high + 1e-6
    assert stats.kstest(values.numpy(), stats.uniform(low, high - low).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("name", "strength", "low", "high"),
    [
        ("brightness", 0.2, 0.8, 1.2),
        ("brightness", 1.0, 0.0, 2.0),
        ("saturation", 0.2, 0.8, 1.2),
        ("saturation", 1.0, 0.0, 2.0),
        ("hue", 0.1, -0.1, 0.1),
    ],
)
def test_colour_parameters_are_uniform(name: str, strength: float, low: float, high: float) -> None:
    config = OFF.model_copy(update={name: strength})
    assert_uniform(factors(name, config, 4000), low, high)


def test_angles_are_uniform() -> None:
    # A picture that grows linearly to the right: its slopes at the centre are the angle's cosine
    # and sine.
    ramp = torch.linspace(0, 1, 16).expand(3000, 3, 16, 16)
    result = augment(ramp, OFF.model_copy(update={"rotation_degrees": 25.0}), rng())[:, 0]
    across, down = result[:, 7, 8] - result[:, 7, 7], result[:, 8, 7] - result[:, 7, 7]
    assert_uniform(torch.rad2deg(torch.atan2(-down, across)), -25, 25)


def test_blur_sigmas_are_uniform() -> None:
    dots = torch.zeros(3000, 3, 9, 9)
    dots[:, :, 4, 4] = 1
    config = OFF.model_copy(update={"blur_sigma": (0.4, 1.2)})
    blurred = augment(dots, config, rng())[:, 0]
    ratio = blurred[:, 4, 5] / blurred[:, 4, 4]  # exp(-1 / (2 sigma²))
    assert_uniform((-0.5 / torch.log(ratio)).sqrt(), 0.4, 1.2)


@pytest.mark.parametrize("probability", [0.3, 1.0])
def test_flips_come_as_often_as_asked(probability: float) -> None:
    images = torch.tensor([0.0, 1.0]).expand(4000, 3, 2, 2)
    config = OFF.model_copy(update={"flip": probability})
    flips = int(augment(images, config, rng())[:, 0, 0, 0].sum())
    assert stats.binomtest(flips, 4000, probability).pvalue > 1e-3


@pytest.mark.parametrize(
    "strengths",
    [
        {"brightness": 0.2, "saturation": 0.2},
        {"brightness": 0.2, "hue": 0.15},
        {"saturation": 0.2, "hue": 0.15},
        {"brightness": 0.2, "saturation": 0.2, "hue": 0.15},
    ],
)
def test_colour_operations_come_in_every_order_equally_often(strengths: dict[str, float]) -> None:
    count = 6000
    config = OFF.model_copy(update=strengths)
    drawn = {name: factors(name, config, count) for name in strengths}
    functions = {
        "brightness": adjust_brightness,
        "saturation": adjust_saturation,
        "hue": adjust_hue,
    }
    # Bright pixels of strong colours clip, which makes the order visible.
    images = torch.rand(count, 3, 4, 4, generator=rng(1)) * 0.6 + 0.4
    images[:, :, 0, :3] = torch.eye(3) * 0.9 + 0.1
    candidates = []
    for order in itertools.permutations(strengths):
        candidate = images
        for name in order:
            candidate = functions[name](candidate, drawn[name])
        candidates.append(candidate)
    result = augment(images, config, rng())
    error = torch.stack([largest_difference(c, result) for c in candidates])  # (orders, images)
    assert error.amin(0).max() < 1e-4  # every image follows one of them
    # Counted are the images whose parameters (not whose order) tell all the orders apart.
    pairs = itertools.combinations(candidates, 2)
    clear = torch.stack([largest_difference(a, b) for a, b in pairs]).amin(0) > 1e-3
    assert clear.sum() > 600
    order_seen = error[:, clear].argmin(0)
    seen = order_seen.bincount(minlength=len(candidates))
    assert stats.chisquare(seen.numpy()).pvalue > 1e-3
    for values in drawn.values():  # and the order does not go with a parameter
        first, rest = values[clear][order_seen == 0], values[clear][order_seen != 0]
        assert stats.ks_2samp(first.numpy(), rest.numpy()).pvalue > 1e-3


def largest_difference(a: Tensor, b: Tensor) -> Tensor:
    """Per image, `(N,)`."""
    return (a - b).abs().amax((1, 2, 3))


def test_colour_parameters_are_independent() -> None:
    config = OFF.model_copy(update={"brightness": 0.2, "saturation": 0.2, "hue": 0.1})
    drawn = torch.stack([factors(n, config, 4000) for n in ("brightness", "saturation", "hue")])
    correlation = torch.corrcoef(drawn) - torch.eye(3)
    assert correlation.abs().max() < 4 / math.sqrt(4000)


# --- gradients, devices --------------------------------------------------------------------------


@pytest.mark.parametrize("config", [AugmentConfig(), EVERYTHING])
def test_gradients_are_finite_and_reach_every_image(config: AugmentConfig) -> None:
    images = photos(8).requires_grad_()  # has black, white, grey and ties
    (gradient,) = torch.autograd.grad(augment(images, config, rng()).square().sum(), images)
    assert torch.isfinite(gradient).all()
    assert (gradient.abs().sum((1, 2, 3)) > 0).all()


@pytest.mark.parametrize(
    ("function", "parameter"),
    [
        (rotate, [20.0, -33.0]),
        (adjust_brightness, [0.7, 1.1]),
        (adjust_saturation, [0.7, 1.2]),
        (adjust_hue, [0.07, -0.23]),
        (lambda images, sigma: gaussian_blur(images, sigma, (3, 5)), [0.5, 1.2]),
    ],
)
def test_gradients_match_finite_differences(
    function: Callable[[Tensor, Tensor], Tensor], parameter: list[float]
) -> None:
    # Between 0.3 and 0.7 nothing clips; the seed keeps away from ties and other kinks.
    images = torch.rand(2, 3, 4, 4, generator=rng(2), dtype=torch.float64) * 0.4 + 0.3
    parameters = torch.tensor(parameter, dtype=torch.float64)
    inputs = (images.requires_grad_(), parameters.requires_grad_())
    assert torch.autograd.gradcheck(function, inputs)


@pytest.mark.parametrize("config", [OFF, AugmentConfig(), EVERYTHING])
def test_nothing_is_read_back_from_the_device(config: AugmentConfig) -> None:
    """Fake tensors have no values: reading one raises, as does a shape that depends on values."""
    with FakeTensorMode() as mode:
        images = mode.from_tensor(photos())
        assert augment(images, config, rng()).shape == images.shape
        with pytest.raises(DataDependentOutputException):  # the check works
            images.mean().item()


def test_runs_under_deterministic_algorithms() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        augment(photos(), EVERYTHING, rng())
    finally:
        torch.use_deterministic_algorithms(False)
