"""The canonical network against torchmetrics and torch-fidelity, all given one file of weights.

The real weights are not needed: a network of the same architecture with random weights, scaled so
that its activations keep their size, runs through the same code.
"""

import os
import pickle

import numpy as np
import pytest
import torch
from inception_weights import pictures, write_random_weights
from safetensors.torch import save_file
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import poly_mmd

from dcgan.errors import EvaluationError
from dcgan.evaluation.extractors.base import extract
from dcgan.evaluation.extractors.inception import inception_extractor
from dcgan.evaluation.extractors.registry import load_extractor
from dcgan.evaluation.extractors.weights import CANONICAL
from dcgan.evaluation.metrics.frechet import fit_gaussian, frechet_distance
from dcgan.evaluation.metrics.kernel import kernel_distance

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _clean_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("DCGAN_OFFLINE", "1")
    monkeypatch.delenv("DCGAN_INCEPTION_WEIGHTS", raising=False)


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    write_random_weights(path)
    return path


@pytest.fixture(scope="session")
def network(weights):
    return load_extractor("inception", CPU, weights=weights)


@pytest.fixture(scope="session")
def sets():
    return pictures(8, 64, 64, seed=1), pictures(7, 64, 64, seed=2)


@pytest.fixture(scope="session")
def features(network, sets):
    return tuple(extract(network, images) for images in sets)


def scale_of(features):
    """tr S1 + tr S2."""
    return sum(float(fit_gaussian(part).factor.square().sum()) for part in features)


def assert_same_features(features, expected):
    assert features.shape == expected.shape
    spread = float(expected.double().std(dim=0).mean())
    assert spread > 0.05  # the pictures differ
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4 * spread)


@pytest.mark.slow
def test_matches_torchmetrics(weights, sets, features):
    # its own default resizes another way (antialias), which is not what FID means
    metric = FrechetInceptionDistance(
        2048, feature_extractor_weights_path=str(weights), antialias=False
    )
    outputs = []
    metric.inception.register_forward_hook(lambda *call: outputs.append(call[2]))
    with torch.no_grad():
        for images, real in zip(sets, (True, False), strict=True):
            metric.update(images, real=real)
        other_size = metric.inception(other := pictures(3, 40, 96, seed=3))
    for mine, theirs in zip(features, outputs[:2], strict=True):
        assert_same_features(mine, theirs)
    distance, scale = frechet_distance(*features), scale_of(features)
    assert distance == pytest.approx(float(metric.compute()), abs=1e-4 * scale)
    assert distance > 0.1 * scale  # a comparison of more than rounding
    real, fake = outputs[0][:7].double(), outputs[1].double()
    value = kernel_distance(features[0][:7], features[1]).value
    assert value == pytest.approx(float(poly_mmd(real, fake)), rel=1e-6, abs=1e-6)
    assert_same_features(
        extract(load_extractor("inception", CPU, weights=weights), other), other_size
    )


class Images(torch.utils.data.Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


@pytest.mark.slow
def test_matches_torch_fidelity(weights, sets, features):
    from torch_fidelity import calculate_metrics

    expected = calculate_metrics(
        input1=Images(sets[0]),
        input2=Images(sets[1]),
        feature_extractor_weights_path=str(weights),
        fid=True,
        kid=True,
        kid_subsets=3,
        kid_subset_size=6,
        samples_shuffle=False,
        cuda=False,
        cache=False,
        save_cpu_ram=True,  # no worker processes
        verbose=False,
    )
    distance = frechet_distance(*features)
    assert distance == pytest.approx(
        expected["frechet_inception_distance"], abs=1e-4 * scale_of(features)
    )
    rng, values = np.random.RandomState(2020), []  # its own choice of subsets
    for _ in range(3):
        subsets = [part[rng.choice(len(part), 6, replace=False)] for part in features]
        values.append(kernel_distance(*subsets).value)
    largest = float((features[0].square().sum(1).max() / 2048 + 1.0) ** 3)
    assert np.mean(values) == pytest.approx(
        expected["kernel_inception_distance_mean"], abs=1e-6 * largest
    )
    assert np.std(values) == pytest.approx(
        expected["kernel_inception_distance_std"], abs=1e-6 * largest
    )


def test_batch_size_does_not_matter(network, sets, features, monkeypatch):
    images, whole = sets[0][:3], features[0][:3]
    np.testing.assert_allclose(extract(network, images, batch_size=2), whole, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr("dcgan.evaluation.extractors.inception.MAX_IMAGES", 2)
    np.testing.assert_allclose(extract(network, images), whole, rtol=1e-4, atol=1e-5)


def test_describes_itself(network, weights):
    assert (network.name, network.dimension, network.device) == ("inception", 2048, CPU)
    assert (network.frechet_name, network.kernel_name) == ("fid_custom", "kid_custom")
    assert network.source == f"{weights} (named by eval.weights)"
    assert len(bytes.fromhex(network.fingerprint)) == 32
    output = network(pictures(1, 64, 64, seed=0))
    assert (output.dtype, tuple(output.shape)) == (torch.float32, (1, 2048))
    assert not output.requires_grad
    assert output.isfinite().all()


def test_fid_is_the_name_of_the_canonical_weights_only():
    canonical = inception_extractor(nn.Linear(1, 1), CANONICAL.sha256, "")
    other = inception_extractor(nn.Linear(1, 1), CANONICAL.sha256[:-1] + "0", "")
    assert (canonical.frechet_name, canonical.kernel_name) == ("fid", "kid")
    assert (other.frechet_name, other.kernel_name) == ("fid_custom", "kid_custom")
    assert canonical.fingerprint != other.fingerprint


def test_loading_leaves_random_streams_alone(weights, network, monkeypatch):
    state = torch.get_rng_state()
    monkeypatch.setenv("DCGAN_INCEPTION_WEIGHTS", str(weights))
    loaded = load_extractor("inception", "cpu")
    assert torch.equal(torch.get_rng_state(), state)
    assert (loaded.name, loaded.fingerprint) == ("inception", network.fingerprint)
    assert loaded.source == f"{weights} (named by DCGAN_INCEPTION_WEIGHTS)"


def test_takes_safetensors(weights, network, sets, features, tmp_path):
    path = tmp_path / "random.safetensors"
    save_file(torch.load(weights, weights_only=True), path)
    loaded = load_extractor("inception", CPU, weights=path)
    np.testing.assert_allclose(extract(loaded, sets[0][:2]), features[0][:2], rtol=1e-4, atol=1e-5)
    assert loaded.fingerprint != network.fingerprint


def state_without_code(change):
    def make(path, weights):
        torch.save(change(torch.load(weights, weights_only=True)), path)

    return make


class Malicious:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path, weights: path.write_bytes(b""), "plain tensors"),
        (lambda path, weights: path.write_bytes(b"hello" * 100), "plain tensors"),
        (lambda path, weights: path.write_bytes(weights.read_bytes()[:50_000]), "plain tensors"),
        (
            lambda path, weights: torch.save({"a": Malicious(path.parent / "ran")}, path),
            "plain tensors",
        ),
        (
            lambda path, weights: path.write_bytes(pickle.dumps(Malicious(path.parent / "ran"))),
            "plain tensors",
        ),
        (lambda path, weights: torch.save(nn.Linear(2, 2), path), "plain tensors.*state_dict"),
        (lambda path, weights: torch.save([torch.ones(2)], path), "hold list; give a file"),
        (state_without_code(lambda state: {"state_dict": state}), "must be a state dict"),
        (
            state_without_code(lambda state: nn.Linear(2, 2).state_dict()),
            r'do not fit .*\(Missing key\(s\) in state_dict: "Conv2d_1a_3x3.conv.weight"\)',
        ),
        (
            state_without_code(lambda state: {**state, "extra": torch.ones(1)}),
            r'\(Unexpected key\(s\) in state_dict: "extra"',
        ),
        (
            state_without_code(lambda state: {**state, "fc.bias": torch.ones(1000)}),
            r"\(size mismatch for fc.bias: copying a param with shape",
        ),
    ],
)
def test_bad_files_are_refused_and_run_nothing(weights, tmp_path, make, message):
    path = tmp_path / "bad.pth"
    make(path, weights)
    with pytest.raises(EvaluationError, match=f"the weights {path} .*{message}") as caught:
        load_extractor("inception", CPU, weights=path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_bad_safetensors_are_refused(tmp_path):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(b"hello")
    with pytest.raises(EvaluationError, match="cannot be read as plain tensors"):
        load_extractor("auto", CPU, weights=path)
