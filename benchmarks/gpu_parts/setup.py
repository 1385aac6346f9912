"""What all sections of `benchmarks/gpu.py` share: the device, the photos, a folder, processes."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from dcgan.config.settings import load_train_config
from dcgan.config.train_config import TrainConfig
from dcgan.runtime.children import child_environment

ROOT = Path(__file__).resolve().parents[2]
REDUCED: dict[str, Any] = {
    "data.image_size": 32,
    "model.nz": 8,
    "model.ngf": 8,
    "model.ndf": 8,
    "train.batch_size": 16,
    "train.threads": 1,
    "train.precision": "fp32",
    "projected.side": 64,
}
"""Settings of the reduced form, which a CPU runs in seconds."""
LARGEST: dict[str, Any] = {"model.ngf": 96, "model.ndf": 96}
"""Wide networks."""
TECHNIQUES: dict[str, Any] = {
    "model.discriminator": "projected",
    "projected.side": 128,
    "model.upsample": "nearest",
    "loss.kind": "hinge",
    "augment.diff_translation": 1,
    "augment.diff_colour": 1,
    "augment.diff_cutout": 1,
    "optim.decay_fraction": 1,
}
"""What `docs/recipes.md` adds to the reference recipe, all at once."""
CHILD_SECONDS = 120.0

T = TypeVar("T")


@dataclass(frozen=True)
class Setup:
    """What a section is given."""

    device: str
    """`cuda`, or `cpu` for the reduced form."""
    root: Path
    """The photos."""
    scratch: Path
    """A folder for results, removed at the end."""
    peaks: dict[str, float] = field(default_factory=dict)
    """Peak MiB by case; the section on speed fills it."""

    @property
    def reduced(self) -> bool:
        """Whether this is the reduced form: small, and no target of speed applies."""
        return self.device == "cpu"

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Dotted keys of a run on the device; arguments are dotted keys with `__` for the dot."""
        base = {"data.root": self.root, "train.device": self.device, "train.precision": "tf32"}
        changed = {key.replace("__", "."): value for key, value in changes.items()}
        return base | changed | (REDUCED if self.reduced else {})

    def config(self, **changes: Any) -> TrainConfig:
        """The reference recipe with these changes; the reduced form's sizes override them."""
        return load_train_config("reference", self.settings(**changes))


def start(*words: object, log: Path) -> subprocess.Popen[bytes]:
    """Start Python with these words in the checkout; what it says goes to a file."""
    command = [sys.executable, *map(str, words)]
    environment = child_environment(os.environ)
    with log.open("wb") as said:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said)


def finish(process: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    """Wait for a process. Raises `RuntimeError` with its last line if it fails or hangs."""
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        code = f"still running after {seconds:.0f} s"
    if code:
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = said[-1] if said else "without a word"
        raise RuntimeError(f"{log.stem} ended with {code}: {last}")


def apart(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function of a module in a process of its own, so that its faults stay there."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply_async(function, arguments).get(CHILD_SECONDS)
