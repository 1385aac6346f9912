"""Our convolutions against the library's, forward and backward, in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcgan.models.convolutions import Double, Halve, Project, Verdict

Case = tuple[nn.Conv2d | nn.ConvTranspose2d, tuple[int, ...]]

CASES = {
    "project": lambda: (Project(9, 4), (3, 9, 1, 1)),
    "double": lambda: (Double(6, 5), (3, 6, 4, 4)),
    "double by product": lambda: (Double(6, 5, by_product=True), (3, 6, 4, 4)),
    "double, one image": lambda: (Double(2, 3, by_product=True), (1, 2, 4, 4)),
    "double, odd side": lambda: (Double(4, 3, by_product=True), (2, 4, 7, 7)),
    "double, one pixel": lambda: (Double(4, 3, by_product=True), (2, 4, 1, 1)),
    "double, large": lambda: (Double(8, 3, by_product=True), (2, 8, 32, 32)),
    "halve": lambda: (Halve(3, 8), (3, 3, 8, 8)),
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


def test_gradients_are_made_only_where_they_are_needed() -> None:
    layer, shape = CASES["double by product"]()
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


def test_weight_gradients_come_in_the_weights_memory_order() -> None:
    # or the optimizer's first act would be to copy each of them
    layer, shape = CASES["double by product"]()
    layer = layer.to(memory_format=torch.channels_last)
    layer(torch.randn(shape)).square().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.stride() == layer.weight.stride()


def test_state_dicts_are_the_librarys() -> None:
    weights = Double(6, 5, by_product=True).state_dict()
    nn.ConvTranspose2d(6, 5, 4, 2, 1, bias=False).load_state_dict(weights)
    nn.ConvTranspose2d(9, 4, 4, bias=False).load_state_dict(Project(9, 4).state_dict())
    nn.Conv2d(7, 1, 4, bias=False).load_state_dict(Verdict(7).state_dict())


def test_they_print_as_the_librarys() -> None:
    assert repr(Project(9, 4)).startswith("ConvTranspose2d(9, 4, kernel_size=(4, 4)")
    assert repr(Verdict(7)).startswith("Conv2d(7, 1, kernel_size=(4, 4)")
