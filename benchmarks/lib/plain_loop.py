"""The DCGAN loop as tutorials write it: what ours is measured against.

torchvision transforms of one photo at a time in a DataLoader with worker processes, a sigmoid and
BCELoss, labels filled anew, `.item()` of the losses every step, Adam with its defaults, networks in
the library's layers and memory format. Kinder than most in one thing: workers live on from epoch to
epoch, since starting them takes seconds that short turns would count at random.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
import torchvision
from torch import Tensor, nn
from torchvision import transforms as T

from dcgan.config.train_config import TrainConfig
from dcgan.models.networks import WEIGHT_STD, hidden_stages


def plain_loop(
    config: TrainConfig, device: torch.device, workers: int, in_memory: bool = False
) -> Iterator[int]:
    """Train the reference recipe on `config.data.root`; yields the photos of each step.

    Args:
        workers: of the DataLoader.
        in_memory: photos are decoded and resized before the first step, not each time.
    """
    loader = torch.utils.data.DataLoader(
        _photos(config, in_memory),
        batch_size=config.train.batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    model = config.model
    generator = plain_generator(model.nz, model.ngf, config.data.image_size).to(device)
    discriminator = plain_discriminator(model.ndf, config.data.image_size, model.leaky_slope)
    discriminator = discriminator.to(device)
    criterion = nn.BCELoss()
    betas = (config.optim.beta1, config.optim.beta2)
    optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=config.optim.lr_d, betas=betas)
    optimizer_g = torch.optim.Adam(generator.parameters(), lr=config.optim.lr_g, betas=betas)
    while True:
        for batch, _ in loader:
            real = batch.to(device)
            count = real.size(0)
            discriminator.zero_grad()
            label = torch.full((count,), 1.0, device=device)
            output = discriminator(real).view(-1)
            loss_real = criterion(output, label)
            loss_real.backward()
            d_real = output.mean().item()
            fake = generator(torch.randn(count, model.nz, 1, 1, device=device))
            label.fill_(0.0)
            output = discriminator(fake.detach()).view(-1)
            loss_fake = criterion(output, label)
            loss_fake.backward()
            d_fake_before = output.mean().item()
            loss_d = loss_real + loss_fake
            optimizer_d.step()
            generator.zero_grad()
            label.fill_(1.0)
            output = discriminator(fake).view(-1)
            loss_g = criterion(output, label)
            loss_g.backward()
            optimizer_g.step()
            _ = (loss_d.item(), loss_g.item(), d_real, d_fake_before, output.mean().item())
            yield count


def plain_generator(nz: int, ngf: int, image_size: int) -> nn.Sequential:
    """The published generator, for other sizes with fewer or more stages."""
    channels = [ngf * 2**stage for stage in reversed(range(hidden_stages(image_size)))]
    layers: list[nn.Module] = [nn.ConvTranspose2d(nz, channels[0], 4, 1, 0, bias=False)]
    for wide, narrow in zip(channels, [*channels[1:], 3], strict=True):
        layers += [
            nn.BatchNorm2d(wide),
            nn.ReLU(True),
            nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False),
        ]
    return nn.Sequential(*layers, nn.Tanh()).apply(_initialise)


def plain_discriminator(ndf: int, image_size: int, slope: float) -> nn.Sequential:
    """The published discriminator, for other sizes with fewer or more stages."""
    channels = [ndf * 2**stage for stage in range(hidden_stages(image_size))]
    layers: list[nn.Module] = [
        nn.Conv2d(3, channels[0], 4, 2, 1, bias=False),
        nn.LeakyReLU(slope, inplace=True),
    ]
    for narrow, wide in pairwise(channels):
        layers += [
            nn.Conv2d(narrow, wide, 4, 2, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.LeakyReLU(slope, inplace=True),
        ]
    layers += [nn.Conv2d(channels[-1], 1, 4, 1, 0, bias=False), nn.Sigmoid()]
    return nn.Sequential(*layers).apply(_initialise)


def _initialise(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, 0.0, WEIGHT_STD)


def _photos(config: TrainConfig, in_memory: bool) -> torch.utils.data.Dataset[tuple[Tensor, int]]:
    size = config.data.image_size
    fit = [T.Resize(size), T.CenterCrop(size)]
    change = [
        T.ColorJitter(brightness=0.2, saturation=0.2),
        T.GaussianBlur(kernel_size=(5, 9), sigma=(0.1, 1.2)),
        T.ToTensor(),
        T.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ]
    root = config.data.root
    assert root is not None
    folder = root if any(path.is_dir() for path in root.iterdir()) else root.parent
    if not in_memory:
        return torchvision.datasets.ImageFolder(str(folder), T.Compose(fit + change))
    fitted = torchvision.datasets.ImageFolder(str(folder), T.Compose(fit))
    return _Decoded(list(fitted), T.Compose(change))


class _Decoded(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Pictures in memory, changed anew each time."""

    def __init__(self, pictures: list[tuple[object, int]], change: T.Compose) -> None:
        self.pictures, self.change = pictures, change

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture, label = self.pictures[index]
        return self.change(picture), label
