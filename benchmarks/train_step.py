"""Training images/s: the plain, written-out DCGAN loop against ours, side by side in one run.

    python benchmarks/train_step.py [--data PHOTOS] [--json]

The plain loop is what a tutorial writes: torchvision transforms per image in a DataLoader with two
workers, a sigmoid and BCELoss, labels filled anew, `.item()` of the losses every step, Adam with
its defaults. Both train the reference recipe on the same photos, in turns, and the median of the
rounds counts. Without --data the photos are toy cats, written to a temporary folder as JPEGs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision import transforms as T

from dcgan.config import DataConfig, TrainConfig
from dcgan.data import load_bank
from dcgan.devices import numerics
from dcgan.networks import Discriminator, Generator, initialise
from dcgan.schedule import Schedule
from dcgan.seeds import make_rng
from dcgan.step import TrainState, training_step
from dcgan.toy_cats import draw_toy_cats


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of photos (default: toy cats)")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds of each loop")
    parser.add_argument("--steps", type=int, default=34, help="steps a round")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.data or write_toy_cats(Path(temporary) / "toy" / "cat")
        config = TrainConfig.model_validate(
            {
                "data": DataConfig(root=root).model_dump(),
                "train": {"device": "cpu", "threads": arguments.threads},
            }
        )
        with numerics(config.train):
            rates = measure(config, arguments.rounds, arguments.steps)
            threads = torch.get_num_threads()
    plain, ours = (statistics.median(rates[name]) for name in ("plain", "ours"))
    result = {
        "plain_images_per_second": round(plain, 1),
        "our_images_per_second": round(ours, 1),
        "ratio": round(ours / plain, 2),
        "ratio_of_each_round": [
            round(b / a, 2) for a, b in zip(rates["plain"], rates["ours"], strict=True)
        ],
        "threads": threads,
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    for key, value in result.items():
        print(f"{key:28} {value}")


def measure(config: TrainConfig, rounds: int, steps: int) -> dict[str, list[float]]:
    """Alternate the two loops; images/s of every round."""
    loops = {"plain": plain_loop(config), "ours": our_loop(config)}
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for loop in loops.values():  # allocations, worker start-up, file cache
        for _ in range(3):
            next(loop)
    for _ in range(rounds):
        for name, loop in loops.items():
            start, images = time.perf_counter(), 0
            for _ in range(steps):
                images += next(loop)
            rates[name].append(images / (time.perf_counter() - start))
    return rates


def our_loop(config: TrainConfig) -> Iterator[int]:
    """Our training step on a bank in memory; yields the images of each step."""
    device = torch.device("cpu")
    bank = load_bank(config.data)
    schedule = Schedule(config, len(bank.images), device)
    state = TrainState.fresh(config, device)
    losses = []
    while True:
        indices = schedule.batch(state.step)
        losses.append(training_step(state, bank.images[indices], config))
        if len(losses) == config.train.log_every_steps:
            torch.stack(losses).tolist()
            losses.clear()
        yield len(indices)


def plain_loop(config: TrainConfig) -> Iterator[int]:
    """The tutorial's loop with the reference recipe's transforms; yields images a step."""
    size = config.data.image_size
    transform = T.Compose(
        [
            T.Resize(size),
            T.CenterCrop(size),
            T.ColorJitter(brightness=0.2, saturation=0.2),
            T.GaussianBlur(kernel_size=(5, 9), sigma=(0.1, 1.2)),
            T.ToTensor(),
            T.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ]
    )
    assert config.data.root is not None
    folder = config.data.root
    has_classes = any(path.is_dir() for path in folder.iterdir())
    dataset = torchvision.datasets.ImageFolder(
        str(folder if has_classes else folder.parent), transform
    )
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=config.train.batch_size, shuffle=True, num_workers=2
    )
    model = config.model
    generator = Generator(model.nz, model.ngf, size)
    layers = list(Discriminator(model.ndf, size, model.leaky_slope))
    discriminator = nn.Sequential(*layers[:-1], nn.Sigmoid(), nn.Flatten(0))
    initialise(generator, make_rng("cpu", 0, "g"))
    initialise(discriminator, make_rng("cpu", 0, "d"))
    criterion = nn.BCELoss()
    betas = (config.optim.beta1, config.optim.beta2)
    optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=config.optim.lr_d, betas=betas)
    optimizer_g = torch.optim.Adam(generator.parameters(), lr=config.optim.lr_g, betas=betas)
    while True:
        for real, _ in loader:
            count = real.size(0)
            discriminator.zero_grad()
            label = torch.full((count,), 1.0)
            output = discriminator(real)
            loss_real = criterion(output, label)
            loss_real.backward()
            d_real = output.mean().item()
            fake = generator(torch.randn(count, model.nz, 1, 1))
            label.fill_(0.0)
            output = discriminator(fake.detach())
            loss_fake = criterion(output, label)
            loss_fake.backward()
            d_fake_before = output.mean().item()
            loss_d = loss_real + loss_fake
            optimizer_d.step()
            generator.zero_grad()
            label.fill_(1.0)
            output = discriminator(fake)
            loss_g = criterion(output, label)
            loss_g.backward()
            optimizer_g.step()
            _ = (loss_d.item(), loss_g.item(), d_real, d_fake_before, output.mean().item())
            yield count


def write_toy_cats(folder: Path) -> Path:
    """527 toy cats as 128×128 JPEGs; returns the folder above the class folder."""
    folder.mkdir(parents=True)
    for index, image in enumerate(draw_toy_cats(527, 128, 0)):
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{index:04d}.jpg", quality=90)
    return folder.parent


if __name__ == "__main__":
    main()
