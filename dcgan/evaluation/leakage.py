"""Leakage: do generated images show an augmentation that the photos had in training?

A generator learns the photos as its discriminator sees them, so it may draw rotated pictures,
shifted hues or blur (Karras et al. 2020, "Training Generative Adversarial Networks with Limited
Data", arXiv:2006.06676). A small classifier learns to tell augmented photos from plain ones.
Applied to generated images it says how far these lie on the way from plain to augmented photos.

    detector = Detector.trained(photos, config.augment, "rotation_degrees")
    detector.judge([images]).share   # 0: as plain photos, 1: as augmented ones
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcgan.config.train_config import AugmentConfig
from dcgan.data.augment import augment
from dcgan.data.diff_augment import diff_augment, draw
from dcgan.data.pixels import to_unit
from dcgan.errors import EvaluationError

CHANGES_PHOTOS = ("rotation_degrees", "brightness", "saturation", "hue", "blur_sigma")
CHANGES_BOTH = ("diff_translation", "diff_colour", "diff_cutout")
DETECTABLE = (*CHANGES_PHOTOS, *CHANGES_BOTH)
"""Augmentations that a picture can show. A mirrored picture is a picture."""
FOLDS = 2
EPOCHS = 15
BATCH = 32
MOST_PHOTOS = 600
"""Of more photos, this many are used, evenly spaced."""
FEWEST_PHOTOS = 50
RESAMPLES = 1000
TELLS = 0.6
"""Below this the classifier cannot tell augmented photos from plain ones, and says nothing."""


@dataclass(frozen=True)
class Leakage:
    """How far images lie on the way from plain photos to augmented ones."""

    share: float
    """0: they look as plain as photos, 1: as augmented as the photos in training. It may lie
    outside: the images differ from photos in other ways, too."""
    low: float
    high: float
    """Its 95 % interval, by the bootstrap over trainings, their images, and photos."""


@dataclass(frozen=True, eq=False)
class Detector:
    """Classifiers that tell photos with an augmentation from plain ones, each trained on a part."""

    networks: tuple[nn.Module, ...]
    plain: Tensor
    augmented: Tensor
    """float32 (N,): probabilities to be augmented, by the classifier that has not seen a photo."""

    @classmethod
    def trained(cls, photos: Tensor, config: AugmentConfig, key: str, seed: int = 0) -> Detector:
        """Train it, which takes about ten seconds on a processor.

        Args:
            photos: uint8 (N, 3, S, S).
            config: the strength of the augmentation; all others are off here.
            key: one of `DETECTABLE`.
            seed: of weights, order and draws.

        Raises `EvaluationError` for fewer than `FEWEST_PHOTOS` photos.
        """
        if len(photos) < FEWEST_PHOTOS:
            raise EvaluationError(
                f"telling augmented photos from plain ones takes at least {FEWEST_PHOTOS} photos, "
                f"but there are {len(photos)}; add photos"
            )
        places = torch.linspace(0, len(photos) - 1, min(len(photos), MOST_PHOTOS)).round().long()
        images = to_unit(photos[places].cpu())
        rng = torch.Generator().manual_seed(seed)
        change = changer(config, key, rng)
        fold = torch.randperm(len(images), generator=rng) % FOLDS
        networks, plain, augmented = [], [], []
        for number in range(FOLDS):
            network = _fit(images[fold != number], change, rng)
            networks.append(network)
            rest = images[fold == number]
            plain.append(_probability(network, rest))
            augmented.append(_probability(network, change(rest)))
        return cls(tuple(networks), torch.cat(plain), torch.cat(augmented))

    @property
    def tells(self) -> float:
        """The probability that it takes an augmented photo for more augmented than a plain one.

        That is the area under its ROC curve: 0.5 if it knows nothing, 1 if it is always right.
        """
        pairs = self.augmented[:, None] - self.plain[None]
        return float(((pairs > 0).double() + (pairs == 0).double() / 2).mean())

    def judge(self, trainings: Sequence[Tensor]) -> Leakage | None:
        """Judge the images of trainings; None if the classifier cannot tell photos apart.

        Args:
            trainings: uint8 `(M, 3, S, S)` each, as many images of each training.
        """
        if self.tells < TELLS:
            return None
        drawn = [self._judged(images) for images in trainings]
        rng = torch.Generator().manual_seed(0)
        photos = self.plain, self.augmented
        shares = self._share(_of_groups(drawn, rng), *(_resampled(it, rng) for it in photos))
        low, high = shares.quantile(torch.tensor([0.025, 0.975])).tolist()
        middle = self._share(*(it.mean() for it in (torch.cat(drawn), *photos)))
        return Leakage(float(middle), low, high)

    def _judged(self, images: Tensor) -> Tensor:
        seen = to_unit(images.cpu())
        return torch.stack([_probability(it, seen) for it in self.networks]).mean(dim=0)

    @staticmethod
    def _share(drawn: Tensor, plain: Tensor, augmented: Tensor) -> Tensor:
        return (drawn - plain) / (augmented - plain)


def changer(config: AugmentConfig, key: str, rng: torch.Generator) -> Callable[[Tensor], Tensor]:
    """A function that makes this one of the config's augmentations, on images in [0, 1]."""
    off = dict.fromkeys((*DETECTABLE, "flip"), 0)
    only = AugmentConfig(**off | {key: getattr(config, key), "blur_kernel": config.blur_kernel})

    def change(images: Tensor) -> Tensor:
        if key in CHANGES_PHOTOS:
            return augment(images, only, rng)
        return (diff_augment(2 * images - 1, only, draw(len(images), rng)) / 2 + 0.5).clamp(0, 1)

    return change


def _fit(images: Tensor, change: Callable[[Tensor], Tensor], rng: torch.Generator) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=rng)))
        network = _network()
        optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
        for _ in range(EPOCHS):
            for part in torch.randperm(len(images), generator=rng).split(BATCH):
                plain = images[part]
                mirrored = torch.rand(len(plain), generator=rng) < 0.5
                plain = torch.where(mirrored.view(-1, 1, 1, 1), plain.flip(-1), plain)
                both = torch.cat([plain, change(plain)])
                is_changed = torch.arange(len(both)) >= len(plain)
                loss = F.binary_cross_entropy_with_logits(
                    _logits(network, both), is_changed.float()
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return network.eval()


def _network() -> nn.Module:
    """Three convolutions, averaged over quarters of the picture."""
    layers: list[nn.Module] = []
    for inputs, outputs, side in ((3, 16, 5), (16, 32, 3), (32, 64, 3)):
        layers += [nn.Conv2d(inputs, outputs, side, 2, side // 2), nn.LeakyReLU(0.1)]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(256, 1)
    )


def _logits(network: nn.Module, images: Tensor) -> Tensor:
    logits: Tensor = network(2 * images - 1)
    return logits.squeeze(1)


@torch.no_grad()
def _probability(network: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([_logits(network, part).sigmoid() for part in images.split(256)])


def _of_groups(groups: Sequence[Tensor], rng: torch.Generator) -> Tensor:
    """As `_resampled`, of groups that are drawn anew as well: images of a training are alike."""
    count = len(groups)
    # (group, place in the sample, resample)
    means = torch.stack(
        [torch.stack([_resampled(group, rng) for _ in range(count)]) for group in groups]
    )
    chosen = torch.randint(count, (1, count, RESAMPLES), generator=rng)
    return means.gather(0, chosen)[0].mean(dim=0)


def _resampled(values: Tensor, rng: torch.Generator) -> Tensor:
    """Means of `RESAMPLES` bootstrap samples."""
    places = torch.randint(len(values), (RESAMPLES, len(values)), generator=rng)
    return values[places].mean(dim=1)
