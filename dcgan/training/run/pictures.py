"""The pictures of one run: photos as training sees them, grids, loss curves, animation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from dcgan.config.train_config import TrainConfig
from dcgan.data.augment import augment
from dcgan.data.bank import PhotoBank
from dcgan.data.pixels import to_signed, to_uint8, to_unit
from dcgan.models.networks import Generator
from dcgan.models.sampling import fixed_noise, render
from dcgan.runtime.pictures import (
    grid_scale,
    image_grid,
    save_animation,
    save_figure,
    save_picture,
    side_by_side,
)
from dcgan.runtime.seeds import make_rng
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import STEP_FIELDS

MAX_FRAMES = 120
MAX_FRAME_PIXELS = 640


def save_loss_plot(losses: Tensor, path: Path, steps_per_epoch: int) -> None:
    """Plot losses `(steps, 5)`, in the order of `STEP_FIELDS`, with their values at equilibrium."""
    import matplotlib  # here: importing it takes half a second

    with matplotlib.rc_context({"backend": "Agg", "font.size": 9}):
        from matplotlib.figure import Figure

        # Fixed margins: finding them would take as long as drawing the rest.
        figure = Figure(figsize=(9, 6))
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        figure.subplots_adjust(left=0.075, right=0.985, top=0.95, bottom=0.08, hspace=0.05)
        epochs = np.arange(1, len(losses) + 1) / steps_per_epoch
        curves = dict(zip(STEP_FIELDS, losses.double().numpy().T, strict=True))
        top.plot(epochs, curves["loss_d"] / 2, label="D: mean of real and fake", linewidth=0.8)
        top.plot(epochs, curves["loss_g"], label="G", linewidth=0.8)
        top.axhline(math.log(2), color="grey", linestyle=":", label="equilibrium: ln 2")
        top.set(ylabel="loss (binary cross-entropy)", title="Losses")
        labels = ("D(x): photos", "D(G(z)) before", "D(G(z)) after D's update")
        for name, label in zip(STEP_FIELDS[2:], labels, strict=True):
            bottom.plot(epochs, curves[name], label=label, linewidth=0.8)
        bottom.axhline(0.5, color="grey", linestyle=":")
        bottom.set(ylabel="probability of “real”", xlabel="epoch", ylim=(0, 1))
        for axes in (top, bottom):
            axes.legend(loc="upper right", ncols=3, frameon=False)
            axes.grid(alpha=0.2)
        save_figure(figure, path)


def training_images(bank: PhotoBank, config: TrainConfig, count: int = 64) -> Image.Image:
    """A sheet of augmented photos, from a random stream of its own."""
    rng = make_rng("cpu", config.train.seed, "preview")
    photos = to_unit(bank.images[:: max(1, len(bank.images) // count)][:count])
    seen = to_uint8(to_signed(augment(photos, config.augment, rng)))
    return image_grid(seen, scale=grid_scale(seen.shape[-1]))


def draw_fixed_noise(folder: RunFolder, generator: Generator, step: int) -> None:
    """Save the grid of the fixed noise after `step` steps."""
    images = render(generator, fixed_noise(generator.nz))
    # Half the size of a run's other pictures, because there are many grids.
    scale = grid_scale(images.shape[-1], tile_pixels=64)
    save_picture(image_grid(images, scale=scale), folder.grid_path(step))


def draw_final(
    folder: RunFolder, generator: Generator, bank: PhotoBank, losses: Tensor, steps_per_epoch: int
) -> None:
    """Draw the final grid, photos beside fakes, the losses and the animation."""
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
    """At most `MAX_FRAMES` evenly spaced grids, small enough to fit in memory."""
    paths = list(folder.grids().values())
    chosen = sorted({round(i) for i in np.linspace(0, len(paths) - 1, MAX_FRAMES)})
    frames = []
    for index in chosen:
        with Image.open(paths[index]) as picture:
            frame = picture.convert("RGB")
        frame.thumbnail((MAX_FRAME_PIXELS, MAX_FRAME_PIXELS))
        frames.append(frame)
    return frames
