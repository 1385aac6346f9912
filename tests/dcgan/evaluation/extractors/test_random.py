"""The shipped random extractor: its weights, an independent forward, and what it responds to."""

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter
from safetensors.numpy import load_file
from scipy.signal import correlate2d

from benchmarks.evaluation.make_random_network import main, random_kernels
from dcgan.errors import EvaluationError
from dcgan.evaluation.extractors.base import extract
from dcgan.evaluation.extractors.random_network import WEIGHTS, WEIGHTS_SHA256, load_random_network
from dcgan.evaluation.extractors.registry import load_extractor
from dcgan.evaluation.metrics.frechet import frechet_distance
from dcgan.evaluation.metrics.kernel import kernel_distance

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network():
    return load_random_network("random", CPU)


def random_images(count, side, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (count, 3, side, side), dtype=np.uint8))


def test_shipped_weights_are_what_the_script_makes(tmp_path, capsys):
    shipped, made = load_file(WEIGHTS), random_kernels()
    assert shipped.keys() == made.keys()
    for name, kernel in made.items():
        # float64 QR differs in its last digits between LAPACK builds, hence no equality of bits
        np.testing.assert_allclose(shipped[name], kernel, rtol=0.0, atol=1e-6)
    out = tmp_path / "made.safetensors"
    main([str(out)])
    assert capsys.readouterr().out.split()[0] == hashlib.sha256(out.read_bytes()).hexdigest()
    np.testing.assert_array_equal(load_file(out)["conv3"], made["conv3"])
    with pytest.raises(SystemExit):
        main([])
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "shape"),
    [("conv1", (32, 3, 5, 5)), ("conv2", (64, 32, 3, 3)), ("conv3", (128, 64, 3, 3))],
)
def test_rows_are_orthonormal_times_root_two(name, shape):
    kernel = load_file(WEIGHTS)[name]
    assert kernel.shape == shape
    assert kernel.dtype == np.float32
    rows = kernel.reshape(shape[0], -1).astype(np.float64)
    np.testing.assert_allclose(rows @ rows.T, 2.0 * np.eye(shape[0]), rtol=0.0, atol=1e-6)


def independent_features(image):
    """One uint8 (3, S, S) image through numpy and scipy alone, in float64."""
    channels = image.astype(np.float64) / 127.5 - 1.0
    parts = [channels.mean(axis=(1, 2)), channels.std(axis=(1, 2))]
    for kernel in load_file(WEIGHTS).values():
        border = kernel.shape[-1] // 2
        padded = np.pad(channels, ((0, 0), (border, border), (border, border)))
        channels = np.stack(
            [
                sum(
                    correlate2d(plane, weights, mode="valid")
                    for plane, weights in zip(padded, kernel[out].astype(np.float64), strict=True)
                )[::2, ::2]
                for out in range(len(kernel))
            ]
        ).clip(min=0.0)
        parts += [channels.mean(axis=(1, 2)), channels.std(axis=(1, 2))]
    return np.concatenate(parts)


@pytest.mark.parametrize("side", [12, 17])
def test_matches_an_independent_forward(network, side):
    images = random_images(1, side)
    features = extract(network, images)
    assert features.shape == (1, 454)
    expected = independent_features(images[0].numpy())
    np.testing.assert_allclose(features[0], expected, rtol=1e-5, atol=2e-6)


def test_describes_itself(network):
    assert (network.name, network.frechet_name, network.kernel_name) == (
        "random",
        "fd_random",
        "kd_random",
    )
    assert network.dimension == 454
    assert network.device == CPU
    assert len(bytes.fromhex(network.fingerprint)) == 32
    assert network.fingerprint == load_extractor("random", "cpu").fingerprint
    output = network(random_images(2, 8))
    assert output.dtype == torch.float32
    assert not output.requires_grad


@pytest.mark.parametrize("side", [1, 2, 32, 128])
def test_constant_images_have_finite_features(network, side):
    images = torch.tensor([0, 128, 255], dtype=torch.uint8).view(3, 1, 1, 1)
    features = extract(network, images.expand(3, 3, side, side))
    assert features.isfinite().all()
    np.testing.assert_allclose(features[[0, 2], :3], [[-1.0] * 3, [1.0] * 3])
    np.testing.assert_allclose(features[:, 3:6], 0.0, atol=1e-6)


def test_batch_size_does_not_matter(network):
    images = random_images(37, 32)
    whole = extract(network, images, batch_size=64)
    for batch_size in (1, 5, 36):
        parts = extract(network, images, batch_size=batch_size)
        np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)


def test_changed_or_missing_weights_are_refused(tmp_path):
    content = bytearray(WEIGHTS.read_bytes())
    content[-1] ^= 1
    changed = tmp_path / "changed.safetensors"
    changed.write_bytes(content)
    with pytest.raises(EvaluationError, match=rf"not those that shipped.*{WEIGHTS_SHA256[:12]}"):
        load_random_network("random", CPU, changed)
    with pytest.raises(EvaluationError, match="cannot be read"):
        load_random_network("random", CPU, tmp_path / "absent.safetensors")


def drawings(count, seed):
    """Simple pictures: a coloured background with a blob and two triangles on it."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        back, blob, ears = (tuple(rng.integers(0, 256, 3).tolist()) for _ in range(3))
        image = Image.new("RGB", (48, 48), back)
        draw = ImageDraw.Draw(image)
        x, y = rng.integers(14, 34, 2).tolist()
        for side in (-1, 1):
            corner = x + side * 9
            draw.polygon([(corner, y - 18), (corner - 5, y), (corner + 5, y)], fill=ears)
        draw.ellipse((x - 12, y - 10, x + 12, y + 12), fill=blob)
        yield image


def as_bank(images):
    arrays = np.stack([np.asarray(image) for image in images])
    return torch.from_numpy(arrays.transpose(0, 3, 1, 2).copy())


def blurred(radius):
    return as_bank(
        image.filter(ImageFilter.GaussianBlur(radius)) for image in drawings(128, seed=1)
    )


def noisy(sigma):
    bank = as_bank(drawings(128, seed=1)).numpy()
    noise = np.random.default_rng(3).normal(0.0, sigma, bank.shape)
    return torch.from_numpy((bank + noise).round().clip(0, 255).astype(np.uint8))


def kernel_value(real, fake):
    return kernel_distance(real, fake).value


@pytest.mark.parametrize(
    ("change", "grades"),
    [(blurred, (0.0, 0.5, 1.0, 2.0, 4.0)), (noisy, (0.0, 8.0, 16.0, 32.0, 64.0))],
)
@pytest.mark.parametrize("distance", [frechet_distance, kernel_value])
def test_distances_grow_with_blur_and_noise(network, change, grades, distance):
    # the same pictures on both sides: what grows is the response, without sampling noise
    real = extract(network, as_bank(drawings(128, seed=1)))
    values = [distance(real, extract(network, change(grade))) for grade in grades]
    assert np.all(np.diff(values) > 0.0), values


def test_other_drawings_are_closer_than_another_kind_of_picture(network):
    real, same = (extract(network, as_bank(drawings(128, seed=seed))) for seed in (1, 2))
    floor = frechet_distance(real, same)
    noise = extract(network, random_images(128, 48))
    assert frechet_distance(real, noise) > 10.0 * floor
    # the kernel distance has no such floor
    value, standard_error = kernel_distance(real, same)
    assert abs(value) < 3.0 * standard_error
