"""Loading an extractor by name, and the checks around running one."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from dcgan.errors import EvaluationError
from dcgan.evaluation.extractors.base import extract
from dcgan.evaluation.extractors.registry import load_extractor

IMAGES = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).view(2, 3, 4, 4)


class FakeExtractor:
    """Features: the mean of each colour. `change` spoils its output."""

    name, frechet_name, kernel_name = "fake", "fd_fake", "kd_fake"
    dimension, fingerprint, device = 3, "00", torch.device("cpu")

    def __init__(self, change=lambda features: features):
        self.change = change
        self.batches = []

    def __call__(self, images):
        self.batches.append(len(images))
        self.seen = (torch.is_grad_enabled(), torch.backends.cudnn.conv.fp32_precision)
        return self.change(images.float().mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("random", "random"),
        ("layout", "layout"),
        ("imagenet", "imagenet"),
        ("joint", "joint"),
        ("auto", "joint"),
    ],
)
def test_loads_by_name(name, found):
    assert load_extractor(name, torch.device("cpu")).name == found


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(
        EvaluationError,
        match="'vgg' is not known; use one of: auto, joint, imagenet, inception, layout, random",
    ):
        load_extractor("vgg", "cpu")


def test_runs_in_batches_without_gradients_or_tf32():
    extractor, before = FakeExtractor(), torch.backends.cudnn.conv.fp32_precision
    images = torch.randint(0, 256, (7, 3, 4, 4), dtype=torch.uint8)
    features = extract(extractor, images, batch_size=3)
    assert extractor.batches == [3, 3, 1]
    assert extractor.seen == (False, "ieee")
    assert torch.backends.cudnn.conv.fp32_precision == before
    assert features.dtype == torch.float64
    np.testing.assert_allclose(features, images.double().mean(dim=(2, 3)), rtol=1e-6)


def test_autocast_around_it_changes_nothing():
    images = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    network = load_extractor("random", "cpu")
    expected = extract(network, images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_array_equal(extract(network, images), expected)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES.float(), "must be uint8 of .* but are torch.float32"),
        (IMAGES[0], r"shape \(N, 3, H, W\).* but are torch.uint8 of the shape \(3, 4, 4\)"),
        (IMAGES[:, :1], r"of the shape \(2, 1, 4, 4\)"),
        (IMAGES[:0], r"not empty, but are .* of the shape \(0, 3, 4, 4\)"),
    ],
)
def test_refuses_images(images, message):
    with pytest.raises(EvaluationError, match=message):
        extract(FakeExtractor(), images)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda features: features[:, :2], r"shape \(2, 3\) but returned \(2, 2\)"),
        (lambda features: features[0], r"shape \(2, 3\) but returned \(3,\)"),
        (lambda features: features.sum(0, keepdim=True), r"but returned \(1, 3\)"),
        (lambda features: features * torch.nan, "NaN or infinite"),
        (lambda features: features / 0.0, "NaN or infinite"),
    ],
)
def test_refuses_bad_output(change, message):
    with pytest.raises(EvaluationError, match=message):
        extract(FakeExtractor(change), IMAGES)


def test_refuses_empty_batches():
    with pytest.raises(EvaluationError, match="batch_size must be at least 1 but got 0"):
        extract(FakeExtractor(), IMAGES, batch_size=0)


@pytest.mark.slow
def test_import_is_light():
    heavy = ["scipy", "torchvision", "torchmetrics", "torch_fidelity", "optuna", "mlflow"]
    code = (
        "import sys, dcgan.evaluation.metrics, dcgan.evaluation.extractors.random_network\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
