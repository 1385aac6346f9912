"""Where a run keeps its files, and the pictures it draws on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from dcgan.config.train_config import TrainConfig
from dcgan.data.augment import augment
from dcgan.data.bank import PhotoBank
from dcgan.data.pixels import to_signed, to_uint8, to_unit
from dcgan.errors import UsageError
from dcgan.models.networks import Generator
from dcgan.models.sampling import fixed_noise, render
from dcgan.plots import save_loss_plot
from dcgan.runtime.files import make_folder
from dcgan.runtime.pictures import (
    grid_scale,
    image_grid,
    save_animation,
    save_picture,
    side_by_side,
)
from dcgan.runtime.seeds import make_rng

MAX_FRAMES = 120
MAX_FRAME_PIXELS = 640


class RunFolder:
    """The files of one training run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.history = path / "history.jsonl"
        self.checkpoint = path / "checkpoint.pt"
        self.result = path / "result.json"
        self.networks = path / "networks.txt"
        self.training_images = path / "training_images.png"
        self.final_grid = path / "samples_final.png"
        self.losses = path / "losses.png"
        self.real_vs_generated = path / "real_vs_generated.png"
        self.animation = path / "training.gif"
        self.samples = path / "samples"

    def create(self) -> None:
        """Make the folder.

        Raises:
            UsageError: it cannot be made or written to.
        """
        if problem := make_folder(self.samples):
            raise UsageError(
                f"cannot write results to {self.path}: {problem}; choose another folder"
            )

    def grid_path(self, step: int) -> Path:
        """Where the fixed-noise grid after `step` steps is."""
        return self.samples / f"step_{step:06d}.png"

    def grids(self) -> dict[int, Path]:
        """Step → picture of every fixed-noise grid drawn so far, in order."""
        found = {int(path.stem[5:]): path for path in self.samples.glob("step_*.png")}
        return dict(sorted(found.items()))


def training_images(bank: PhotoBank, config: TrainConfig, count: int = 64) -> Image.Image:
    """A sheet of photos as training sees them: augmented, from a random stream of its own."""
    rng = make_rng("cpu", config.train.seed, "preview")
    photos = to_unit(bank.images[:: max(1, len(bank.images) // count)][:count])
    seen = to_uint8(to_signed(augment(photos, config.augment, rng)))
    return image_grid(seen, scale=grid_scale(seen.shape[-1]))


def draw_fixed_noise(folder: RunFolder, generator: Generator, step: int) -> None:
    """Save the grid of the fixed noise after `step` steps."""
    images = render(generator, fixed_noise(generator.nz))
    # Half the size of a run's other pictures: there are many of them.
    scale = grid_scale(images.shape[-1], tile_pixels=64)
    save_picture(image_grid(images, scale=scale), folder.grid_path(step))


def draw_final(
    folder: RunFolder, generator: Generator, bank: PhotoBank, losses: Tensor, steps_per_epoch: int
) -> None:
    """Draw what a finished run leaves: final grid, photos beside fakes, losses, animation."""
    fakes = render(generator, fixed_noise(generator.nz))
    scale = grid_scale(fakes.shape[-1])
    grid = image_grid(fakes, scale=scale)
    save_picture(grid, folder.final_grid)
    real = bank.images[:: max(1, len(bank.images) // len(fakes))][: len(fakes)]
    panel = side_by_side([image_grid(real, scale=scale), grid], ["Photos", "Generated"])
    save_picture(panel, folder.real_vs_generated)
    save_loss_plot(losses, folder.losses, steps_per_epoch)
    save_animation(_animation_frames(folder), folder.animation)


def _animation_frames(folder: RunFolder) -> list[Image.Image]:
    """Evenly chosen grids, made small enough that a long run's animation fits in memory."""
    paths = list(folder.grids().values())
    chosen = sorted({round(i) for i in np.linspace(0, len(paths) - 1, MAX_FRAMES)})
    frames = []
    for index in chosen:
        with Image.open(paths[index]) as picture:
            frame = picture.convert("RGB")
        frame.thumbnail((MAX_FRAME_PIXELS, MAX_FRAME_PIXELS))
        frames.append(frame)
    return frames
