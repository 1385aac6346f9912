"""Images that show an augmentation are told from others, in the right measure."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dcgan.config.train_config import AugmentConfig
from dcgan.data.toy_cats import draw_toy_cats
from dcgan.errors import EvaluationError
from dcgan.evaluation.leakage import DETECTABLE, Detector, changer

STRENGTHS = AugmentConfig(
    rotation_degrees=15, hue=0.25, blur_sigma=(1.0, 2.0), diff_translation=1, diff_cutout=1
)
SIZE = 32


def toy_cats(count: int, seed: int) -> Tensor:
    return torch.from_numpy(draw_toy_cats(count, SIZE, seed))


def changed(images: Tensor, key: str) -> Tensor:
    change = changer(STRENGTHS, key, torch.Generator().manual_seed(7))
    return (change(images / 255) * 255).round().byte()


@pytest.fixture(scope="module")
def photos() -> Tensor:
    return toy_cats(300, 0)


@pytest.fixture(scope="module")
def rotated(photos: Tensor) -> Detector:
    return Detector.trained(photos, STRENGTHS, "rotation_degrees")


def test_new_pictures_lie_where_they_belong(rotated: Detector) -> None:
    plain = toy_cats(200, 1)
    turned = changed(plain, "rotation_degrees")
    assert rotated.tells > 0.9
    for images, share in ((plain, 0.0), (turned, 1.0), (torch.cat([plain, turned]), 0.5)):
        found = rotated.judge([images])
        assert found is not None
        assert found.share == pytest.approx(share, abs=0.12)
        assert found.low < found.share < found.high
        assert found.high - found.low < 0.3


def test_another_augmentation_is_not_taken_for_it(rotated: Detector) -> None:
    found = rotated.judge([changed(toy_cats(200, 1), "hue")])
    assert found is not None
    assert abs(found.share) < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("key", ["hue", "blur_sigma", "diff_translation", "diff_cutout"])
def test_each_augmentation_is_seen(photos: Tensor, key: str) -> None:
    detector = Detector.trained(photos, STRENGTHS, key)
    assert detector.tells > 0.75
    for images, share in ((toy_cats(200, 1), 0.0), (changed(toy_cats(200, 1), key), 1.0)):
        found = detector.judge([images])
        assert found is not None
        assert found.share == pytest.approx(share, abs=0.25)


def test_trainings_that_differ_make_the_interval_wide(rotated: Detector) -> None:
    """As many images as of one training tell less if those of each training are alike."""
    plain = toy_cats(120, 1)
    turned = changed(plain, "rotation_degrees")
    half = torch.cat([plain[:60], turned[:60]])
    mixed, apart = rotated.judge([half, half]), rotated.judge([plain, turned])
    assert mixed is not None
    assert apart is not None
    assert mixed.share == pytest.approx(apart.share, abs=0.1)
    assert apart.high - apart.low > 3 * (mixed.high - mixed.low)
    assert apart.low < 0.2 < 0.8 < apart.high


def test_what_cannot_be_told_is_not_judged(photos: Tensor) -> None:
    weak = AugmentConfig(saturation=0.001)
    detector = Detector.trained(photos[:60], weak, "saturation")
    assert 0.4 < detector.tells < 0.6
    assert detector.judge([photos]) is None


def test_it_is_the_same_each_time_and_leaves_the_random_numbers_alone(photos: Tensor) -> None:
    before = torch.get_rng_state()
    one, two = (Detector.trained(photos[:64], STRENGTHS, "hue").judge([photos]) for _ in range(2))
    assert one == two
    assert torch.equal(before, torch.get_rng_state())


def test_too_few_photos(photos: Tensor) -> None:
    with pytest.raises(EvaluationError, match="takes at least 50 photos, but there are 49"):
        Detector.trained(photos[:49], STRENGTHS, "hue")


def test_every_augmentation_but_mirroring_is_known() -> None:
    known = set(AugmentConfig.model_fields)
    assert known - set(DETECTABLE) == {"flip", "blur_kernel"}
    for key in DETECTABLE:
        images = toy_cats(40, 2) / 255
        strong = AugmentConfig(brightness=0.9, saturation=0.9, diff_colour=1).model_copy(
            update={k: getattr(STRENGTHS, k) for k in ("rotation_degrees", "hue", "diff_cutout")}
        )
        config = strong.model_copy(update={"diff_translation": 1.0})
        change = changer(config, key, torch.Generator().manual_seed(0))
        assert not torch.equal(change(images), images), key
