"""Make `release-0.1.tar.xz`: a run folder and a results folder as release 0.1 wrote them.

`tests/test_compatibility.py` opens both with today's code. The archive was made by the code of
commit 1a1ecde, the last one before the modules moved into rooms:

    git worktree add ../release-0.1 1a1ecde
    PYTHONPATH=../release-0.1 python tests/data/make_old_store.py tests/data/release-0.1.tar.xz

It holds

- `run`: a run of two epochs,
- `store`: two studies. `tiny` minimises a score and was interrupted in its last trial:
  0 to 2 complete, 3 failed, 4 waiting with a checkpoint of step 2;
  `front` minimises distance and imbalance, and has two complete trials.

The pictures would be nine tenths of the archive: each is replaced by a plain one of the same size.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image, ImageStat

BASE: dict[str, Any] = {
    "data": {"source": "toy_cats", "toy_count": 40, "image_size": 32},
    "model": {"nz": 4, "ngf": 4, "ndf": 4},
    "train": {
        "epochs": 2,
        "batch_size": 16,
        "device": "cpu",
        "threads": 1,
        "ema_half_life_images": 20,
        "grid_every_steps": 1000,
        "log_every_steps": 1,
    },
    "eval": {"extractor": "random", "n_samples": 64, "every_epochs": 1},
}
STUDY: dict[str, Any] = {
    "study": {"name": "tiny", "trials": 5, "seed": 5},
    "space": {
        "model.nz": {"type": "int", "low": 2, "high": 8, "log": True},
        "optim.lr_g": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
        "augment.rotation_degrees": {"type": "categorical", "choices": [0, 10]},
    },
    "sampler": {"name": "tpe", "startup_trials": 3},
    "pruner": {"name": "percentile", "percentile": 0.0, "startup_trials": 1},
    "baselines": [
        {"name": "good", "params": {"model.nz": 4, "optim.lr_g": 2e-3}},
        {"name": "slow", "params": {"model.nz": 2, "optim.lr_g": 1e-4}},
    ],
    "base": {**BASE, "model": {"nz": 4, "ngf": 2, "ndf": 2}},
    "checkpoints": {"keep": 1},
    "full_run": {"train.epochs": 3},
}
FAILED, INTERRUPTED = 3, 4


def make_run(folder: Path) -> None:
    """Train for two epochs with the `dcgan` command."""
    import yaml

    config = folder.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(BASE), encoding="utf-8")
    command = [sys.executable, "-m", "dcgan.cli", "train", str(config), "--out", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    config.unlink()


def make_store(folder: Path) -> None:
    """Run both studies."""
    from study.objective import Hooks  # its module in release 0.1

    from study import Store, StudyConfig, run_study

    running = [0]
    steps = [0]

    def begin(trial: Any, config: object) -> None:
        running[0] = trial.number

    def start(schedule: object, done: int) -> None:
        if running[0] == FAILED:
            raise OSError("the disk was away")

    def log(record: object) -> None:
        steps[0] += running[0] == INTERRUPTED

    store = Store.at(folder)
    hooks = Hooks(on_begin=begin, on_start=start, on_log=log, should_stop=lambda: steps[0] > 0)
    run_study(StudyConfig.model_validate(STUDY), store, hooks=hooks)
    front = {
        **STUDY,
        "study": {"name": "front", "trials": 2, "seed": 5},
        "objective": {"mode": "pareto"},
        "pruner": {"name": "none"},
        "checkpoints": {"keep": 0},
    }
    run_study(StudyConfig.model_validate(front), store)


def plain(path: Path) -> None:
    """Replace a picture by its mean colour."""
    with Image.open(path) as picture:
        colour = tuple(round(value) for value in ImageStat.Stat(picture.convert("RGB")).mean)
        Image.new("RGB", picture.size, colour).save(path, format=picture.format)


def main() -> None:
    """Make the archive named on the command line."""
    archive = Path(sys.argv[1]).absolute()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "old"
        folder.mkdir()
        make_run(folder / "run")
        make_store(folder / "store")
        for path in folder.rglob("*"):
            if path.suffix in {".png", ".gif", ".webp"}:
                plain(path)
        with tarfile.open(archive, "w:xz", preset=9) as tar:
            for name in ("run", "store"):
                tar.add(folder / name, name, filter=anonymous)


def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The same file, of nobody in particular."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main()
