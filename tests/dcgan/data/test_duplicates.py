"""Which copies of a photo are found, and that photos which are only alike are left alone."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter

from dcgan.data import duplicates
from dcgan.data.duplicates import DuplicateGroup, find_duplicates
from dcgan.data.toy_cats import draw_toy_cats

SIZE = 64
COUNT = 40


def picture(image):
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def tensor(pictures, size=SIZE):
    """PIL pictures -> uint8 (N, 3, size, size), reduced as a photo is."""
    reduced = [each.resize((size, size), Image.Resampling.BILINEAR) for each in pictures]
    return torch.stack([torch.from_numpy(np.array(each)).permute(2, 0, 1) for each in reduced])


def jpeg(photo, quality=50):
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def crop(photo, left, top, right, bottom):
    width, height = photo.size
    box = left * width, top * height, (1 - right) * width, (1 - bottom) * height
    return photo.crop(tuple(round(edge) for edge in box))


ALTERED = {
    "jpeg 50": jpeg,
    "jpeg 20": lambda photo: jpeg(photo, 20),
    "made smaller": lambda photo: photo.resize((50, 50), Image.Resampling.BICUBIC),
    "made larger": lambda photo: photo.resize((300, 300), Image.Resampling.LANCZOS),
    "10 % brighter": lambda photo: ImageEnhance.Brightness(photo).enhance(1.1),
    "30 % darker": lambda photo: ImageEnhance.Brightness(photo).enhance(0.7),
    "more contrast": lambda photo: ImageEnhance.Contrast(photo).enhance(1.3),
    "less colour": lambda photo: ImageEnhance.Color(photo).enhance(0.7),
    "blurred": lambda photo: photo.filter(ImageFilter.GaussianBlur(1.5)),
    "2 % off all sides": lambda photo: crop(photo, 0.02, 0.02, 0.02, 0.02),
    "5 % off all sides": lambda photo: crop(photo, 0.05, 0.05, 0.05, 0.05),
    "4 % off two sides": lambda photo: crop(photo, 0.04, 0.04, 0, 0),
    "mirrored": lambda photo: photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "mirrored, cropped, brighter, jpeg": lambda photo: jpeg(
        ImageEnhance.Brightness(
            crop(photo, 0.03, 0.03, 0.03, 0.03).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        ).enhance(1.1)
    ),
}


@pytest.fixture(scope="module")
def originals():
    """Toy cats as large pictures."""
    return [picture(image) for image in torch.from_numpy(draw_toy_cats(COUNT, 128, 3))]


@pytest.mark.parametrize("kind", ALTERED)
def test_altered_copies_are_found(originals, kind):
    copies = [ALTERED[kind](photo) for photo in originals]
    found = find_duplicates(torch.cat([tensor(originals), tensor(copies)]))
    assert [group.indices for group in found] == [(i, COUNT + i) for i in range(COUNT)]
    assert not any(group.exact for group in found)


@pytest.mark.parametrize("size", [32, 128])
def test_other_sizes(originals, size):
    copies = [jpeg(crop(photo, 0.02, 0.02, 0.02, 0.02)) for photo in originals]
    found = find_duplicates(torch.cat([tensor(originals, size), tensor(copies, size)]))
    assert [group.indices for group in found] == [(i, COUNT + i) for i in range(COUNT)]


def test_no_two_toy_cats_are_the_same():
    assert find_duplicates(torch.from_numpy(draw_toy_cats(250, 32, 8))) == []


def test_no_two_random_images_are_the_same():
    rng = torch.Generator().manual_seed(0)
    assert find_duplicates(torch.randint(0, 256, (200, 3, 32, 32), generator=rng).byte()) == []


def test_empty_photos_are_the_same_only_if_equal():
    shades = torch.tensor([0, 1, 128, 254, 255, 128], dtype=torch.uint8)
    images = shades.view(-1, 1, 1, 1).expand(-1, 3, 32, 32).clone()
    images[2, :, 5, 5] = 127  # the same noise in two of them
    images[4, :, 5, 5] = 254
    assert find_duplicates(images) == []
    images[3] = images[0]
    assert find_duplicates(images) == [DuplicateGroup((0, 3), exact=True)]


def test_groups_are_connected_and_sorted(originals):
    small = tensor(originals)
    mirrored, brighter = small.flip(-1), tensor([ALTERED["10 % brighter"](p) for p in originals])
    images = torch.stack(
        [small[9], small[1], mirrored[5], small[2], brighter[1], small[5], small[2], mirrored[1]]
    )
    found = find_duplicates(images)
    assert [(group.indices, group.exact) for group in found] == [
        ((1, 4, 7), False),
        ((2, 5), False),
        ((3, 6), True),
    ]


def test_equal_and_nearly_equal_photos_share_a_group(originals):
    small = tensor(originals[:4])
    images = torch.cat([small, small[:1], small[:1].flip(-1)])
    assert find_duplicates(images) == [DuplicateGroup((0, 4, 5), exact=False)]


def test_thousands_of_exact_copies(originals):
    images = tensor(originals[:3])[torch.arange(3000) % 3]
    found = find_duplicates(images)
    assert [group.indices[:2] for group in found] == [(0, 3), (1, 4), (2, 5)]
    assert all(len(group.indices) == 1000 and group.exact for group in found)


def test_blocks_change_nothing(originals, monkeypatch):
    copies = [ALTERED["mirrored, cropped, brighter, jpeg"](photo) for photo in originals]
    images = torch.cat([tensor(originals), tensor(copies)])
    expected = find_duplicates(images)
    monkeypatch.setattr(duplicates, "BLOCK", 7)
    assert find_duplicates(images) == expected


def test_the_most_similar_pairs_come_first_where_there_are_too_many(originals, monkeypatch):
    cats = torch.from_numpy(draw_toy_cats(300, 32, 8))
    images = torch.cat([cats, cats[:5].flip(-1)])
    monkeypatch.setattr(duplicates, "MAX_CANDIDATES", 5)
    assert [group.indices for group in find_duplicates(images)] == [(i, 300 + i) for i in range(5)]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_photos(originals, count):
    assert find_duplicates(tensor(originals)[:count]) == []


def test_what_cannot_be_compared():
    with pytest.raises(TypeError, match="uint8"):
        find_duplicates(torch.rand(2, 3, 32, 32))
