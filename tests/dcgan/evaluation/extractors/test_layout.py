"""`layout`: an independent thumbnail, and what `random` does not see."""

import math

import numpy as np
import pytest
import torch

from dcgan.data.toy_cats import draw_toy_cats
from dcgan.errors import EvaluationError
from dcgan.evaluation.extractors.base import extract
from dcgan.evaluation.extractors.random_network import load_random_network
from dcgan.evaluation.extractors.registry import load_extractor
from dcgan.evaluation.metrics.frechet import frechet_distance

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network():
    return load_random_network("layout", CPU)


def noise_images(count, side, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (count, 3, side, side), dtype=np.uint8))


def independent_thumbnail(image):
    """uint8 (3, S, S) → 48 numbers, channel by channel, in float64."""
    side = image.shape[-1]
    spans = [slice(i * side // 4, math.ceil((i + 1) * side / 4)) for i in range(4)]
    pixels = image.astype(np.float64) / 127.5 - 1.0
    fields = [(rows, columns) for rows in spans for columns in spans]
    return np.array([0.7 * channel[field].mean() for channel in pixels for field in fields])


@pytest.mark.parametrize("side", [1, 3, 12, 17, 64])
def test_is_a_thumbnail_and_what_random_sees_but_the_mean_colour(network, side):
    images = noise_images(3, side)
    features = extract(network, images)
    assert features.shape == (3, network.dimension) == (3, 499)
    thumbnails = np.stack([independent_thumbnail(image) for image in images.numpy()])
    np.testing.assert_allclose(features[:, :48], thumbnails, rtol=1e-5, atol=1e-6)
    rest = extract(load_extractor("random", CPU), images)[:, 3:]
    np.testing.assert_array_equal(features[:, 48:], rest)


def test_describes_itself(network):
    names = (network.name, network.frechet_name, network.kernel_name)
    assert names == ("layout", "fd_layout", "kd_layout")
    assert network.device == CPU
    assert len(bytes.fromhex(network.fingerprint)) == 32
    assert network.fingerprint == load_extractor("layout", CPU).fingerprint
    assert network.fingerprint != load_extractor("random", CPU).fingerprint
    output = network(noise_images(2, 8))
    assert output.dtype == torch.float32
    assert not output.requires_grad


def test_batch_size_does_not_matter(network):
    images = noise_images(37, 32)
    whole = extract(network, images, batch_size=64)
    for batch_size in (1, 5, 36):
        parts = extract(network, images, batch_size=batch_size)
        np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)


def test_missing_weights_are_refused(tmp_path):
    with pytest.raises(EvaluationError, match="cannot be read"):
        load_random_network("layout", CPU, tmp_path / "absent.safetensors")


def times_floor(extractor, photos, harmed):
    """Distance of harmed photos from other photos, over that of photos as they are."""
    sets = (photos[:256], photos[256:], harmed)
    real, kept, changed = (extract(extractor, images) for images in sets)
    return frechet_distance(real, changed) / frechet_distance(real, kept)


def halves_swapped(images):
    """The right half of each image on its left."""
    return torch.cat([images[..., 16:], images[..., :16]], dim=3)


@pytest.mark.parametrize("harm", [lambda images: images.flip(2), halves_swapped])
def test_sees_where_things_are_as_random_does_not(network, harm):
    photos = torch.from_numpy(draw_toy_cats(512, 32, seed=1))
    harmed = harm(photos[256:])
    assert times_floor(load_extractor("random", CPU), photos, harmed) < 1.5
    assert times_floor(network, photos, harmed) > 2.0
