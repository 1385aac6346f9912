"""The folder of a run: where each file is."""

from __future__ import annotations

from pathlib import Path

from dcgan.errors import UsageError
from dcgan.runtime.files import make_folder


class RunFolder:
    """The files of one training run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.history = path / "history.jsonl"
        self.checkpoint = path / "checkpoint.pt"
        """The last one, from which the run continues."""
        self.best = path / "best.pt"
        """The checkpoint of the best evaluation so far: one file with `checkpoint` or another."""
        self.result = path / "result.json"
        self.networks = path / "networks.txt"
        self.training_images = path / "training_images.png"
        self.final_grid = path / "samples_final.png"
        self.losses = path / "losses.png"
        self.real_vs_generated = path / "real_vs_generated.png"
        self.animation = path / "training.gif"
        self.samples = path / "samples"

    @property
    def checkpoints(self) -> tuple[Path, Path]:
        """Every checkpoint that a run may keep."""
        return self.checkpoint, self.best

    def create(self) -> None:
        """Make the folder, or raise `UsageError` if it cannot be written."""
        if problem := make_folder(self.samples):
            raise UsageError(
                f"cannot write results to {self.path}: {problem}; choose another folder"
            )

    def grid_path(self, step: int) -> Path:
        """The file of the fixed-noise grid after `step` steps."""
        return self.samples / f"step_{step:06d}.png"

    def grids(self) -> dict[int, Path]:
        """Step → file of every fixed-noise grid so far, in order of steps; no other files."""
        found = {}
        for path in self.samples.glob("step_*.png"):
            digits = path.stem[5:]
            if digits.isdecimal() and path == self.grid_path(int(digits)):
                found[int(digits)] = path
        return dict(sorted(found.items()))
