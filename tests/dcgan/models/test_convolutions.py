"""Our convolutions against the library's, forward and backward, in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcgan.models.convolutions import (
    Double,
    Halve,
    NearestDouble,
    Project,
    Verdict,
    _Double,
    _Halve,
)

Case = tuple[nn.Conv2d | nn.ConvTranspose2d, tuple[int, ...]]

CASES = {
    "project": lambda: (Project(9, 4), (3, 9, 1, 1)),
    "double": lambda: (Double(6, 5), (3, 6, 8, 8)),
    "double, small side": lambda: (Double(6, 5), (3, 6, 4, 4)),
    "double, few channels": lambda: (Double(8, 3), (2, 8, 32, 32)),
    "double, few channels, small side": lambda: (Double(2, 3), (1, 2, 4, 4)),
    "double, odd side": lambda: (Double(4, 3), (2, 4, 7, 7)),
    "double, one pixel": lambda: (Double(4, 3), (2, 4, 1, 1)),
    "halve": lambda: (Halve(5, 8), (3, 5, 16, 16)),
    "halve, small side": lambda: (Halve(5, 8), (3, 5, 8, 8)),
    "halve, few channels": lambda: (Halve(3, 8), (3, 3, 32, 32)),
    "halve, two pixels": lambda: (Halve(2, 8), (1, 2, 2, 2)),
    "verdict": lambda: (Verdict(7), (5, 7, 4, 4)),
}


def library(layer: nn.Conv2d | nn.ConvTranspose2d, images: Tensor, weight: Tensor) -> Tensor:
    convolve = F.conv_transpose2d if isinstance(layer, nn.ConvTranspose2d) else F.conv2d
    result: Tensor = convolve(images, weight, None, layer.stride, layer.padding)
    return result


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_the_librarys(name: str, memory: torch.memory_format) -> None:
    torch.manual_seed(0)
    layer, shape = CASES[name]()
    layer = layer.double().to(memory_format=memory)
    images = torch.randn(shape, dtype=torch.float64).contiguous(memory_format=memory)
    plain_images = images.clone().requires_grad_()
    plain_weight = layer.weight.detach().contiguous().clone().requires_grad_()
    images.requires_grad_()

    ours, theirs = layer(images), library(layer, plain_images, plain_weight)
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    direction = torch.randn_like(theirs)
    ours.backward(direction)
    theirs.backward(direction)
    torch.testing.assert_close(images.grad, plain_images.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer.weight.grad, plain_weight.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["double", "double, few channels", "halve, small side"])
def test_gradients_are_made_only_where_they_are_needed(name: str) -> None:
    layer, shape = CASES[name]()
    images = torch.randn(shape)
    layer(images).sum().backward()
    assert images.grad is None
    assert layer.weight.grad is not None
    layer.weight.grad = None
    layer.requires_grad_(False)
    images.requires_grad_()
    layer(images).sum().backward()
    assert images.grad is not None
    assert layer.weight.grad is None


@pytest.mark.parametrize("name", CASES)
def test_weight_gradients_come_in_the_weights_memory_order(name: str) -> None:
    # or the optimizer's first act would be to copy each of them
    layer, shape = CASES[name]()
    layer = layer.to(memory_format=torch.channels_last)
    images = torch.randn(shape).contiguous(memory_format=torch.channels_last)
    result = layer(images)
    # Not `backward`, which would copy a gradient of another order.
    (gradient,) = torch.autograd.grad(result.square().sum(), [layer.weight])
    assert gradient.stride() == layer.weight.stride()


@pytest.mark.parametrize("name", CASES)
def test_a_bias_is_added(name: str) -> None:
    """Only layers with a folded BatchNorm have one."""
    layer, shape = CASES[name]()
    images = torch.randn(shape)
    without = layer(images)
    layer.bias = nn.Parameter(torch.arange(float(layer.out_channels)))
    torch.testing.assert_close(
        layer(images) - without, layer.bias.view(-1, 1, 1).expand_as(without)
    )


SMALL = {
    "double": lambda: (Double(3, 5), (1, 3, 6, 6)),
    "double, few channels": lambda: (Double(3, 2), (1, 3, 4, 4)),
    "halve": lambda: (Halve(5, 2), (1, 5, 12, 12)),
    "halve, few channels": lambda: (Halve(2, 3), (1, 2, 4, 4)),
}


@pytest.mark.parametrize("name", SMALL)
def test_gradients_can_be_differentiated_again(name: str) -> None:
    torch.manual_seed(0)
    layer, shape = SMALL[name]()
    weight = layer.weight.detach().double().requires_grad_()
    images = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    apply = _Double.apply if isinstance(layer, Double) else _Halve.apply
    assert torch.autograd.gradcheck(apply, (images, weight), fast_mode=True)
    assert torch.autograd.gradgradcheck(apply, (images, weight), fast_mode=True)


@pytest.mark.parametrize("name", CASES)
def test_bfloat16_results_are_float32_ones_up_to_rounding(name: str) -> None:
    torch.manual_seed(0)
    layer, shape = CASES[name]()
    layer = layer.to(memory_format=torch.channels_last)
    images = torch.randn(shape).contiguous(memory_format=torch.channels_last).requires_grad_()
    plain_images, plain_weight = (
        x.detach().clone().requires_grad_() for x in (images, layer.weight)
    )
    with torch.autocast("cpu", torch.bfloat16):
        ours = layer(images)
    theirs = library(layer, plain_images, plain_weight)
    assert ours.dtype == (torch.float32 if isinstance(layer, Verdict) else torch.bfloat16)
    direction = torch.randn_like(theirs)
    (ours.float() * direction).sum().backward()
    (theirs * direction).sum().backward()
    assert images.grad is not None
    assert layer.weight.grad is not None
    assert images.grad.dtype == layer.weight.grad.dtype == torch.float32
    results = {
        "values": (ours.detach().float(), theirs.detach()),
        "for images": (images.grad, plain_images.grad),
        "for weight": (layer.weight.grad, plain_weight.grad),
    }
    for part, (got, exact) in results.items():
        assert exact is not None
        error = float((got - exact).norm() / exact.norm())
        # bfloat16 keeps 8 bits: three roundings of up to 2⁻⁹ each
        assert error < 0.008, part
        if ours.dtype == torch.bfloat16:
            assert error > 1e-4, part  # it was bfloat16 indeed


def test_state_dicts_are_the_librarys() -> None:
    weights = Double(6, 5).state_dict()
    nn.ConvTranspose2d(6, 5, 4, 2, 1, bias=False).load_state_dict(weights)
    nn.ConvTranspose2d(9, 4, 4, bias=False).load_state_dict(Project(9, 4).state_dict())
    nn.Conv2d(7, 1, 4, bias=False).load_state_dict(Verdict(7).state_dict())


def test_they_print_as_the_librarys() -> None:
    assert repr(Project(9, 4)).startswith("ConvTranspose2d(9, 4, kernel_size=(4, 4)")
    assert repr(Verdict(7)).startswith("Conv2d(7, 1, kernel_size=(4, 4)")


@pytest.mark.parametrize(("wide", "narrow", "side"), [(5, 7, 4), (6, 3, 8), (4, 4, 5)])
def test_nearest_double_repeats_pixels_and_filters(wide: int, narrow: int, side: int) -> None:
    layer = NearestDouble(wide, narrow).double()
    images = torch.randn(2, wide, side, side, dtype=torch.float64, requires_grad=True)
    weight = layer.weight.detach().clone().requires_grad_(True)
    # A transposed convolution with stride 1 is a convolution with the flipped kernel.
    kernel = weight.flip(2, 3).transpose(0, 1)
    expected = F.conv2d(F.interpolate(images, scale_factor=2, mode="nearest"), kernel, padding=1)
    result = layer(images)
    torch.testing.assert_close(result, expected)
    target = torch.randn_like(expected)
    mine = torch.autograd.grad((result * target).sum(), [images, layer.weight])
    others = torch.autograd.grad((expected * target).sum(), [images, weight])
    for one, other in zip(mine, others, strict=True):
        torch.testing.assert_close(one, other)
    assert torch.autograd.gradgradcheck(layer, images)


def test_nearest_double_with_a_bias_and_in_bfloat16() -> None:
    layer = NearestDouble(8, 4)
    layer.bias = torch.nn.Parameter(torch.arange(4.0))
    images = torch.randn(2, 8, 4, 4)
    exact = layer(images)
    torch.testing.assert_close(
        exact.mean(dim=(0, 2, 3)) - torch.arange(4.0),
        NearestDouble.forward(_without_bias(layer), images).mean(dim=(0, 2, 3)),
    )
    with torch.autocast("cpu", torch.bfloat16):
        rounded = layer(images)
    torch.testing.assert_close(rounded.float(), exact, rtol=0.05, atol=0.05)
    assert not torch.equal(rounded.float(), exact)


def _without_bias(layer: NearestDouble) -> NearestDouble:
    bare = NearestDouble(layer.in_channels, layer.out_channels)
    bare.weight = layer.weight
    return bare
