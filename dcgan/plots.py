"""The loss plot of a run."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from torch import Tensor

from dcgan.runtime.files import write_atomic
from dcgan.step import STEP_FIELDS


def save_loss_plot(losses: Tensor, path: Path, steps_per_epoch: int) -> None:
    """Plot every step's losses and probabilities, with the values of the game's equilibrium.

    Args:
        losses: `(steps, 5)` in the order of `STEP_FIELDS`.
    """
    import matplotlib  # here: importing it takes half a second

    with matplotlib.rc_context({"backend": "Agg", "font.size": 9}):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 6), layout="constrained")
        FigureCanvasAgg(figure)
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        epochs = np.arange(1, len(losses) + 1) / steps_per_epoch
        curves = dict(zip(STEP_FIELDS, losses.double().numpy().T, strict=True))
        top.plot(epochs, curves["loss_d"] / 2, label="D: mean of real and fake", linewidth=0.8)
        top.plot(epochs, curves["loss_g"], label="G", linewidth=0.8)
        top.axhline(math.log(2), color="grey", linestyle=":", label="equilibrium: ln 2")
        top.set(ylabel="loss (binary cross-entropy)", title="Losses")
        bottom.plot(epochs, curves["d_real"], label="D(x): photos", linewidth=0.8)
        bottom.plot(epochs, curves["d_fake_before"], label="D(G(z)) before", linewidth=0.8)
        bottom.plot(epochs, curves["d_fake_after"], label="D(G(z)) after D's update", linewidth=0.8)
        bottom.axhline(0.5, color="grey", linestyle=":")
        bottom.set(ylabel="probability of “real”", xlabel="epoch", ylim=(0, 1))
        for axes in (top, bottom):
            axes.legend(loc="upper right", ncols=3, frameon=False)
            axes.grid(alpha=0.2)
        write_atomic(path, lambda file: figure.savefig(file, format="png", dpi=110))
