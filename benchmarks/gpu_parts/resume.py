"""Section: a training that is killed and resumed ends with the bits of one that was not."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.gpu_parts.report import Line, holds
from benchmarks.gpu_parts.setup import TECHNIQUES, Setup, finish, start
from dcgan.training.run.checkpoint import load_checkpoint

SECONDS = 300.0
AFTER_CHECKPOINT_SECONDS = 0.05
"""The kill comes this long after the first checkpoint, so that steps after it are lost."""
EPOCHS, REDUCED_EPOCHS = 160, 8
CHECKPOINTS = 4
ENTRIES = {
    "weights and moving average": ("generator", "discriminator", "ema"),
    "optimizers": ("optimizer_g", "optimizer_d"),
    "random streams": ("noise_rng", "augment_rng", "diff_rng"),
    "losses of every step": ("losses",),
}
"""What of a checkpoint must be the same."""


def resume(setup: Setup) -> Iterator[Line]:
    """Train undisturbed and disturbed at the same time; compare every tensor of both at the end."""
    yield from _lines(setup, "reference recipe", {})
    yield from _lines(setup, "all techniques", TECHNIQUES)


def _lines(setup: Setup, recipe: str, changes: dict[str, Any]) -> Iterator[Line]:
    kept, killed = (Run(setup, f"{recipe}, {name}", changes) for name in ("undisturbed", "killed"))
    undisturbed = kept.start()
    at = killed.kill_after_a_checkpoint()
    finish(killed.start("--resume"), killed.log, SECONDS)
    finish(undisturbed, kept.log, SECONDS)
    expected, found = load_checkpoint(kept.checkpoint), load_checkpoint(killed.checkpoint)
    yield Line(f"{recipe}: killed after", f"step {at} of {expected.step}")
    yield holds(f"{recipe}: steps", found.step, expected.step)
    for what, names in ENTRIES.items():
        other = [name for name in names if not same(expected.state[name], found.state[name])]
        yield holds(
            f"{recipe}: {what}",
            f"{' and '.join(other)} differ" if other else "the same bits",
            "the same bits",
        )


class Run:
    """A run of `dcgan train` in a folder of its own."""

    def __init__(self, setup: Setup, name: str, recipe: dict[str, Any]) -> None:
        self.folder, self.log = setup.scratch / name, setup.scratch / f"{name}.log"
        self.checkpoint = self.folder / "checkpoint.pt"
        epochs = REDUCED_EPOCHS if setup.reduced else EPOCHS
        every = epochs // CHECKPOINTS
        changes = {"train__epochs": epochs, "train__checkpoint_every_epochs": every}
        changes |= {key.replace(".", "__"): value for key, value in recipe.items()}
        scores = {"eval.extractor": "random", "eval.n_samples": 64, "eval.every_epochs": 0}
        settings = setup.settings(**changes, train__grid_every_steps=1_000_000) | scores
        settings.pop("data.root")
        self.words = ["train", "reference", "--data", setup.root, "--out", self.folder]
        self.words += [
            word for pair in settings.items() for word in ("--set", "=".join(map(str, pair)))
        ]

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        """Start it."""
        return start("-m", "dcgan.cli", *self.words, *more, log=self.log)

    def kill_after_a_checkpoint(self) -> int:
        """Kill it with signal 9. Returns the step of the checkpoint that it leaves."""
        process, end = self.start(), time.monotonic() + SECONDS
        while not self.checkpoint.exists() and time.monotonic() < end and process.poll() is None:
            time.sleep(0.002)
        time.sleep(AFTER_CHECKPOINT_SECONDS)
        process.kill()
        if process.wait() != -9:
            finish(process, self.log, 0)  # names its error, if it had one
            raise RuntimeError("the training ended before it could be killed")
        return load_checkpoint(self.checkpoint).step


def same(one: Any, other: Any) -> bool:
    """Whether nested dicts and lists hold the same values, and tensors of the same bits."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and bits(one) == bits(other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def bits(tensor: torch.Tensor) -> tuple[torch.dtype, torch.Size, bytes]:
    """What must be equal; 0 and −0 are not, a NaN is like itself."""
    return tensor.dtype, tensor.shape, tensor.contiguous().view(-1).numpy().tobytes()
