"""Generators that repeat photos are caught, others are not, whatever the photos hold twice."""

import numpy as np
import pytest
import torch
from scipy import stats

from dcgan.config.train_config import AugmentConfig
from dcgan.data.augment import augment
from dcgan.data.toy_cats import draw_toy_cats
from dcgan.errors import EvaluationError
from dcgan.evaluation import memorisation as module
from dcgan.evaluation.memorisation import (
    MARGIN,
    QUANTILE,
    calibrate,
    calibrate_photos,
    memorisation,
    picture_vectors,
)
from dcgan.evaluation.memorisation_report import REPEATED, MemorisationReport

SIZE = 32
COUNT = 150


def toy_cats(count, seed):
    return torch.from_numpy(draw_toy_cats(count, SIZE, seed))


@pytest.fixture(scope="module")
def photos():
    return toy_cats(COUNT, 0)


@pytest.fixture(scope="module")
def new_cats():
    """What a perfect generator draws: as the photos, but others."""
    return toy_cats(400, 1)


@pytest.fixture(scope="module")
def calibration(photos):
    return calibrate_photos(photos)


def judged(images, calibration):
    return memorisation(picture_vectors(images), calibration)


def altered(images, **settings):
    config = AugmentConfig(
        **{"brightness": 0.0, "saturation": 0.0, "blur_sigma": (0, 0)} | settings
    )
    rng = torch.Generator().manual_seed(0)
    return (augment(images / 255, config, rng) * 255).round().byte()


def noisy(images, strength):
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + strength * noise).round().clamp(0, 255).byte()


def averaged(images):
    return ((images.float() + images.flip(0).float()) / 2).byte()


IN_TRAINING = {"brightness": 0.2, "saturation": 0.2, "blur_sigma": (0.1, 1.2)}

REPLAYS = {
    "exact": lambda images: images,
    "altered as in training": lambda images: altered(images, **IN_TRAINING),
    "blurred": lambda images: altered(images, blur_sigma=(2.0, 2.0)),
    "noisy": lambda images: noisy(images, 20),
    "brighter": lambda images: altered(images, brightness=0.3),
    "hue": lambda images: altered(images, hue=0.05),
    "turned a little": lambda images: altered(images, rotation_degrees=3),
    "shifted by a pixel": lambda images: images.roll(1, dims=3),
    "mirrored": lambda images: images.flip(-1),
    "mirrored and altered": lambda images: altered(images, flip=1.0, **IN_TRAINING),
}


@pytest.mark.parametrize("kind", REPLAYS)
def test_a_replay_is_caught(kind, photos, calibration):
    result = judged(REPLAYS[kind](photos), calibration)
    assert result.fraction >= 0.97
    assert (result.nearest == torch.arange(COUNT)).double().mean() >= 0.99


def test_an_exact_replay_is_at_ratio_0(photos, calibration):
    result = judged(photos, calibration)
    assert result.fraction == 1.0
    assert result.ratios.max() == 0
    assert result.distances.max() == 0


ORIGINALS = {
    "new photos": lambda images: images,
    "new photos, altered": lambda images: altered(images, **IN_TRAINING),
    "blurred": lambda images: altered(images, blur_sigma=(2.0, 2.0)),
    "averages of new photos": averaged,
    "the average of all": lambda images: images.float().mean(0, keepdim=True).byte(),
    "noise": lambda images: noisy(torch.full_like(images, 128), 60),
    "grey": lambda images: torch.full_like(images, 128),
    "one new photo": lambda images: images[:1].expand(50, -1, -1, -1),
}


@pytest.mark.parametrize("kind", ORIGINALS)
def test_an_original_generator_is_not_caught(kind, new_cats, calibration):
    result = judged(ORIGINALS[kind](new_cats), calibration)
    assert result.fraction <= 0.01
    assert calibration.fraction <= 0.01


def test_half_a_replay_is_half_caught(photos, new_cats, calibration):
    half = altered(photos[: COUNT // 2], **IN_TRAINING)
    result = judged(torch.cat([half, new_cats[: COUNT // 2]]), calibration)
    assert result.fraction == pytest.approx(0.5, abs=0.02)
    assert result.memorised[: COUNT // 2].double().mean() >= 0.97


def test_held_out_photos_calibrate_alike(photos, new_cats, calibration):
    held_out = calibrate_photos(photos, holdout=new_cats[:100])
    assert held_out.threshold == pytest.approx(calibration.threshold, rel=0.1)
    assert judged(new_cats[100:], held_out).fraction <= 0.01
    assert judged(altered(photos, **IN_TRAINING), held_out).fraction >= 0.97


@pytest.mark.slow
def test_copies_of_training_photos_among_those_held_out_do_not_count(photos, new_cats):
    clean = calibrate_photos(photos, holdout=new_cats[:60])
    leaked = torch.cat(
        [new_cats[:60], altered(photos[:30], brightness=0.1), photos[30:60].flip(-1)]
    )
    assert calibrate_photos(photos, holdout=leaked).threshold == pytest.approx(
        clean.threshold, rel=0.1
    )


def test_duplicates_neither_hide_nor_make_repetitions(photos, new_cats, calibration):
    copies = [photos, photos[:60], altered(photos[:60], brightness=0.1), photos[60:90].flip(-1)]
    with_copies = torch.cat([*copies, photos[:1].expand(40, -1, -1, -1)])
    doubled = calibrate_photos(with_copies)
    assert doubled.threshold == pytest.approx(calibration.threshold, rel=0.05)
    assert judged(new_cats, doubled).fraction <= 0.01
    result = judged(altered(photos, **IN_TRAINING), doubled)
    assert result.fraction >= 0.97
    # Were they not known to be copies, nothing but an exact copy would count.
    unknown = torch.arange(len(with_copies)), torch.empty(0, dtype=torch.int64)
    assert calibrate_photos(with_copies, labels=unknown).threshold < 0.2 * calibration.threshold


def test_mirrored_rows_name_the_photo_itself(photos, calibration):
    assert calibration.vectors.shape == (2 * COUNT, 192)
    assert judged(photos.flip(-1), calibration).nearest.tolist() == list(range(COUNT))


@pytest.mark.parametrize("with_labels", [False, True])
def test_matches_brute_force(with_labels, monkeypatch):
    rng = np.random.default_rng(4)
    training, generated = rng.standard_normal((30, 5)), rng.standard_normal((12, 5))
    labels = rng.integers(0, 12, 30) if with_labels else np.arange(30)
    k = 4
    monkeypatch.setattr(module, "NEXT_NEIGHBOURS", k)

    def by_hand(query, own=None):
        """Ratio, row of the nearest photo and its distance."""
        distance = np.linalg.norm(training - query, axis=1)
        pictures = {}  # label -> (distance, row) of the nearest row that has it
        for row in np.argsort(distance):
            if labels[row] != own:
                pictures.setdefault(labels[row], (distance[row], row))
        (nearest, row), *others = pictures.values()
        return nearest / np.mean([each for each, _ in others[:k]]), row, nearest

    calibration = calibrate(training, labels=torch.from_numpy(labels))
    firsts = sorted(np.unique(labels, return_index=True)[1])
    own = [by_hand(training[i], labels[i])[0] for i in firsts]
    np.testing.assert_allclose(calibration.ratios, own, rtol=1e-12)
    assert calibration.threshold == pytest.approx(MARGIN * np.quantile(own, QUANTILE))
    result = memorisation(torch.from_numpy(generated).float(), calibration)
    ratios, rows, distances = zip(*map(by_hand, generated), strict=True)
    np.testing.assert_allclose(result.ratios, ratios, rtol=1e-6)
    np.testing.assert_allclose(result.distances, distances, rtol=1e-6)
    assert result.nearest.tolist() == list(rows)
    assert result.fraction == np.mean(np.array(ratios) <= calibration.threshold)


def test_held_out_vectors_are_strangers_unless_labelled():
    rng = np.random.default_rng(5)
    training = rng.standard_normal((40, 6))
    assert calibrate(training, holdout=training).ratios.max() == 0
    labelled = calibrate(training, holdout=training, holdout_labels=torch.arange(40))
    np.testing.assert_array_equal(labelled.ratios, calibrate(training).ratios)


def test_the_distances_scale_cancels():
    rng = np.random.default_rng(6)
    training, generated = rng.standard_normal((50, 8)), rng.standard_normal((20, 8))
    once = memorisation(generated, calibrate(training))
    thrice = memorisation(3 * generated, calibrate(3 * training))
    np.testing.assert_allclose(thrice.ratios, once.ratios, rtol=1e-12)
    assert thrice.calibration.threshold == pytest.approx(once.calibration.threshold)


@pytest.mark.parametrize("count", [3, 4, 10])
def test_few_photos_are_compared_with_all_there_are(count, photos, new_cats):
    few = calibrate_photos(photos[:count])
    assert few.ratios.shape == (count,)
    assert judged(photos[:count], few).fraction == 1.0
    assert judged(new_cats, few).fraction < 0.3  # a guess: 0.02 on average with 10 photos


@pytest.mark.parametrize("copies", [0, 5])
def test_fewer_than_three_different_photos(copies, photos):
    images = torch.cat([photos[:2], photos[:1].expand(copies, -1, -1, -1)])
    with pytest.raises(EvaluationError, match=r"at least 3 different photos but there are 2; add"):
        calibrate_photos(images)


def test_photos_that_are_all_alike_give_no_verdict_by_chance():
    calibration = calibrate(np.ones((10, 4)))
    assert calibration.ratios.tolist() == [1.0] * 10
    assert memorisation(np.zeros((2, 4)), calibration).ratios.tolist() == [1.0, 1.0]


def test_large_sets_are_calibrated_by_a_part(monkeypatch):
    training = np.random.default_rng(7).standard_normal((300, 4))
    everything = calibrate(training)
    monkeypatch.setattr(module, "CALIBRATION_IMAGES", 100)
    part = calibrate(training)
    assert part.ratios.shape == (100,)
    assert part.threshold == pytest.approx(everything.threshold, rel=0.1)


def test_nan_is_refused():
    good, bad = np.random.default_rng(8).standard_normal((2, 10, 3))
    bad[4, 1] = np.nan
    with pytest.raises(EvaluationError, match="training features of 1 of 10 images are not finite"):
        calibrate(bad)
    with pytest.raises(EvaluationError, match="held-out features of 1 of 10"):
        calibrate(good, holdout=bad)
    with pytest.raises(EvaluationError, match="query features of 1 of 10 images are not finite"):
        memorisation(bad, calibrate(good))


def test_what_does_not_fit_is_refused():
    training = np.random.default_rng(9).standard_normal((10, 3))
    with pytest.raises(
        EvaluationError, match="query features have 4 dimensions but reference ones 3"
    ):
        memorisation(np.ones((2, 4)), calibrate(training))


def test_picture_vectors(photos):
    vectors = picture_vectors(photos)
    assert vectors.shape == (COUNT, 192)
    assert vectors.dtype == torch.float64
    np.testing.assert_allclose(vectors.norm(dim=1), 1.0)
    np.testing.assert_allclose(vectors.mean(dim=1), 0.0, atol=1e-12)
    half = picture_vectors((photos.float() / 2).round().byte())  # darker, and of less contrast
    assert (vectors - half).norm(dim=1).max() < 0.02
    assert picture_vectors(torch.full((1, 3, SIZE, SIZE), 200, dtype=torch.uint8)).abs().max() == 0


@pytest.mark.parametrize(("fakes", "shown"), [(40, 16), (3, 3)])
def test_panel_shows_the_closest_pairs(fakes, shown, photos, new_cats, calibration):
    images = torch.cat([new_cats[: fakes - 2], photos[[7, 3]]])
    result = judged(images, calibration)
    panel = np.asarray(MemorisationReport(images, photos, result, result).panel())
    scale = 128 // SIZE
    # each of the pair is an enlarged tile; the replayed photos come first, in the order they came
    for column, photo in enumerate((7, 3)):
        tile = photos[photo].permute(1, 2, 0).numpy().repeat(scale, 0).repeat(scale, 1)
        left = 8 + column * (tile.shape[1] + 4 * scale + 8) + 2 * scale
        found = [
            top
            for top in range(len(panel) - 128)
            if (panel[top : top + 128, left : left + 128] == tile).all()
        ]
        assert len(found) == 2
    assert (panel == REPEATED).all(axis=2).any()
    rows = -(-shown // 8)
    assert panel.shape[0] == 52 + rows * ((2 * 34 + 2) * scale + 30)


def test_a_few_hits_by_chance_are_not_beyond_it(photos, new_cats, calibration):
    """The verdict is that of two Wilson intervals that lie apart."""
    new = judged(new_cats, calibration)
    assert not new.beyond_chance
    assert calibration.fraction < calibration.floor < 0.1
    for copies, expected in ((0, False), (2, False), (60, True)):
        mixed = judged(torch.cat([new_cats[copies:], photos[:copies]]), calibration)
        assert mixed.beyond_chance is expected, copies
    wholly = judged(photos, calibration)
    assert wholly.describe().startswith(f"100.0% of {COUNT} images repeat a training photo; by ")


def test_the_floor_is_the_upper_limit_that_scipy_gives(calibration):
    hits = int((calibration.ratios <= calibration.threshold).sum())
    limits = stats.binomtest(hits, len(calibration.ratios)).proportion_ci(0.95, method="wilson")
    assert calibration.floor == pytest.approx(limits.high, abs=1e-4)
