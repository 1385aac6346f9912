"""Are generators as good if they were trained in bfloat16? Configs × seeds in both precisions.

    python -m benchmarks.training.precision train --data PHOTOS --work DIR
    python -m benchmarks.training.precision table --data PHOTOS --work DIR --extractor layout

`train` trains each config with each seed and precision for 54 epochs and keeps 1024 images of the
moving average and of the last weights. A run of one thread takes three to six minutes. Finished
runs are kept; several processes may share the work. `table` takes the seeds that both precisions
have finished. It prints the mean Fréchet distance and its values, and the ratio of bfloat16's to
float32's with a 95 % interval (Welch's t on logarithms: equal seeds give equal first weights, but
the runs part within a few steps).
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from scipy import stats

from benchmarks.evaluation.score_models import keep_images
from dcgan.config.settings import load_train_config
from dcgan.config.train_config import DataConfig, TrainConfig
from dcgan.data.bank import load_bank
from dcgan.evaluation.extractors.base import Extractor, extract
from dcgan.evaluation.extractors.registry import load_extractor
from dcgan.evaluation.metrics.frechet import Gaussian, distance_between, fit_gaussian
from dcgan.models.ema import with_fresh_batchnorm
from dcgan.runtime.numerics import numerics
from dcgan.training.schedule import Schedule
from dcgan.training.step import TrainState, training_step

CONFIGS: dict[str, dict[str, Any]] = {
    "reference": {},
    "flips, no blur, batch 16": {
        "augment.flip": 0.5,
        "augment.blur_sigma": 0,
        "train.batch_size": 16,
    },
}
PRECISIONS = ("fp32", "bf16")
EPOCHS = (18, 36, 54)
MODELS = ("ema", "raw")


def main() -> None:
    """Train or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("phase", choices=["train", "table"])
    parser.add_argument("--data", type=Path, required=True, help="folder of photos")
    parser.add_argument("--work", type=Path, required=True, help="folder for the images")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--extractor", default="imagenet")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    (train_all if arguments.phase == "train" else print_table)(arguments)


def run_folder(work: Path, name: str, seed: int, precision: str) -> Path:
    """Where a run keeps its images."""
    return work / f"{name} {seed} {precision}"


def train_all(arguments: argparse.Namespace) -> None:
    """Train what is not there yet; a lock keeps two processes from the same run."""
    for seed in arguments.seeds:
        for name, changes in CONFIGS.items():
            for precision in PRECISIONS:
                own = {
                    "data.root": str(arguments.data.resolve()),
                    "train.seed": seed,
                    "train.threads": arguments.threads,
                    "train.device": "cpu",
                    "train.precision": precision,
                }
                config = load_train_config("reference", changes | own)
                folder = run_folder(arguments.work, name, seed, precision)
                train_unless_done(config, folder)


def train_unless_done(config: TrainConfig, folder: Path) -> None:
    """Train a run that no process has finished or is training."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock", blocking=False)
    with suppress(Timeout), lock:
        if not is_done(folder):
            with numerics(config.train):
                train_one(config, folder)
            print(f"{folder.name}: done", flush=True)


def is_done(folder: Path) -> bool:
    """Whether the last images of a run, those of the moving average, are there."""
    return images_of(folder, EPOCHS[-1], "ema").exists()


def images_of(folder: Path, epoch: int, model: str) -> Path:
    """A file that `keep_images` writes."""
    return folder / f"epoch {epoch:02d} {model}.npy"


def train_one(config: TrainConfig, folder: Path) -> None:
    """Train once and keep images of both generators at some epochs."""
    bank, device = load_bank(config.data), torch.device("cpu")
    state, schedule = TrainState.fresh(config, device), Schedule(config, len(bank.images), device)
    while state.step < schedule.total_steps:
        training_step(state, bank.images[schedule.batch(state.step)], config)
        epoch, rest = divmod(state.step, schedule.steps_per_epoch)
        if rest == 0 and epoch in EPOCHS:
            raw = copy.deepcopy(state.generator).eval()
            keep_images({"raw": raw, "ema": with_fresh_batchnorm(state.ema)}, folder, epoch)


def print_table(arguments: argparse.Namespace) -> None:
    """Score what has finished, and compare."""
    extractor = load_extractor(arguments.extractor, "cpu")
    real = fit_gaussian(extract(extractor, load_bank(DataConfig(root=arguments.data)).images))
    print(
        f"| {extractor.frechet_name} | epoch | model | {' | '.join(PRECISIONS)} | ratio (95 %) |"
        "\n|---|---|---|---|---|---|"
    )
    for name in CONFIGS:
        folders = [
            [run_folder(arguments.work, name, seed, precision) for precision in PRECISIONS]
            for seed in arguments.seeds
        ]
        finished = [pair for pair in folders if all(map(is_done, pair))]
        for epoch, model in product(EPOCHS, MODELS):
            scores = [
                [score(images_of(folder, epoch, model), real, extractor) for folder in runs]
                for runs in zip(*finished, strict=True)
            ]
            means = " | ".join(map(spread, scores))
            print(f"| {name} | {epoch} | {model} | {means} | {ratio(scores)} |", flush=True)


def score(file: Path, real: Gaussian, extractor: Extractor) -> float:
    """The Fréchet distance of a file of images, uint8 `(n, 3, S, S)`."""
    return distance_between(real, fit_gaussian(extract(extractor, torch.from_numpy(np.load(file)))))


def spread(values: Sequence[float]) -> str:
    """Mean and the values themselves."""
    return f"{np.mean(values):.3g} ({', '.join(f'{value:.3g}' for value in sorted(values))})"


def ratio(scores: Sequence[Sequence[float]]) -> str:
    """How many times larger bfloat16's scores are, as geometric means, with its interval."""
    if not scores or len(scores[0]) < 2:
        return "takes two seeds"
    old, new = map(np.log, scores)
    interval = stats.ttest_ind(new, old, equal_var=False).confidence_interval(0.95)
    low, high = math.exp(interval.low), math.exp(interval.high)
    return f"{math.exp(new.mean() - old.mean()):.2f} ({low:.2f}–{high:.2f})"


if __name__ == "__main__":
    main()
