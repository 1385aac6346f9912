"""Which generator of a run should be scored, and by what? Trains configs × seeds and compares.

    python -m benchmarks.evaluation.score_models train --data PHOTOS --work DIR
    python -m benchmarks.evaluation.score_models table --data PHOTOS --work DIR

`train` runs each config with each seed for --epochs. At a few epochs it keeps 1024 images, from
the fixed evaluation noise, of each candidate: the last weights (raw) and moving averages of several
half-lives with BatchNorm statistics measured anew. 54 epochs take three to ten minutes on one core
and 300 MB of disk. Finished runs are kept, and several processes may share the work. `table` scores
the images and prints

- the scores of the reference recipe by seed (the seed noise),
- how steadily each candidate ranks the configs over seeds (mean Spearman correlation between the
  rankings of two seeds, at the last epoch and at short budgets),
- how well a short budget's score predicts the full one (Spearman correlation of one seed's short
  score with the config's mean full score of its best candidate).
"""

from __future__ import annotations

import argparse
import copy
import json
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock, Timeout
from scipy.stats import spearmanr
from torch import Tensor

from dcgan.config.settings import load_train_config
from dcgan.config.train_config import DataConfig, TrainConfig
from dcgan.data.bank import PhotoBank, load_bank
from dcgan.evaluation.extractors.base import Extractor, extract
from dcgan.evaluation.extractors.registry import load_extractor
from dcgan.evaluation.metrics.frechet import distance_between, fit_gaussian
from dcgan.evaluation.metrics.interval import frechet_interval
from dcgan.evaluation.metrics.kernel import kernel_distance
from dcgan.models.ema import ema_weight, update_ema, with_fresh_batchnorm
from dcgan.models.networks import Generator
from dcgan.models.sampling import generate_images
from dcgan.runtime.files import write_atomic, write_text_atomic
from dcgan.runtime.numerics import numerics
from dcgan.training.schedule import Schedule
from dcgan.training.step import TrainState, training_step

CONFIGS: dict[str, dict[str, Any]] = {
    "reference": {},
    "tutorial": {"model.nz": 100, "model.ndf": 64, "optim.lr_g": 2e-4, "optim.lr_d": 2e-4},
    "rotation + hue": {"augment.rotation_degrees": 10, "augment.hue": 0.1},
    "small D": {"model.nz": 81, "model.ndf": 16, "optim.lr_g": 9.7e-4, "optim.lr_d": 4.3e-4},
    "slow D": {"model.nz": 100, "model.ndf": 64, "optim.lr_g": 2e-4, "optim.lr_d": 5e-5},
    "small G": {"model.ngf": 32},
}
FLIPS = {"augment.flip": 0.5, "augment.blur_sigma": 0}
CONFIGS |= {f"{name}, flips": CONFIGS[name] | FLIPS for name in ("reference", "tutorial")}
HALF_LIVES = (500, 2000, 8000)
EPOCHS = (10, 20, 30, 50, 52, 54, 90, 120, 150, 180, 240)
N_SAMPLES = 1024
SHOWN = ("raw", "ema 2000")


def main() -> None:
    """Train or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("phase", choices=["train", "table"])
    parser.add_argument("--data", type=Path, required=True, help="folder of photos")
    parser.add_argument("--work", type=Path, required=True, help="folder for the images")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--configs", nargs="+", default=list(CONFIGS), choices=list(CONFIGS))
    parser.add_argument("--epochs", type=int, default=54)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--extractor", default="imagenet")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.phase == "train":
        train_all(arguments)
        return
    extractor = load_extractor(arguments.extractor, "cpu")
    torch.set_num_threads(arguments.threads)
    scores = score_all(arguments.data, arguments.work, extractor, arguments.seeds)
    if not scores:
        print(f"no run in {arguments.work} has finished; a run that was cut off: delete its folder")
    elif arguments.json:
        print(json.dumps(scores, indent=2))
    else:
        print_tables(scores)


def train_all(arguments: argparse.Namespace) -> None:
    """Train what is not there yet; a lock keeps two processes from the same run."""
    for seed in arguments.seeds:
        for name in arguments.configs:
            changes = {
                "data.root": str(arguments.data.resolve()),
                "train.seed": seed,
                "train.epochs": arguments.epochs,
                "train.threads": arguments.threads,
                "train.precision": arguments.precision,
                "train.device": "cpu",
            }
            config = load_train_config("reference", changes | CONFIGS[name])
            train_unless_done(config, arguments.work / f"{name} {seed}")


def train_unless_done(config: TrainConfig, folder: Path) -> None:
    """Train a run that no process has finished or is training."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock", blocking=False)
    with suppress(Timeout), lock:
        if not (folder / "done").exists():
            with numerics(config.train):
                train_one(config, load_bank(config.data), folder)
            (folder / "done").touch()
            print(f"{folder.name}: done", flush=True)


def train_one(config: TrainConfig, bank: PhotoBank, folder: Path) -> None:
    """Train once, with several moving averages beside each other."""
    device = torch.device("cpu")
    state, schedule = TrainState.fresh(config, device), Schedule(config, len(bank.images), device)
    averages = {f"ema {h}": copy.deepcopy(state.ema) for h in HALF_LIVES}
    while state.step < schedule.total_steps:
        batch = bank.images[schedule.batch(state.step)]
        training_step(state, batch, config)
        for half_life, average in zip(HALF_LIVES, averages.values(), strict=True):
            weight = ema_weight(len(batch), state.images_seen, half_life)
            update_ema(average, state.generator, weight)
        epoch, rest = divmod(state.step, schedule.steps_per_epoch)
        if rest == 0 and epoch in EPOCHS:
            candidates = {k: with_fresh_batchnorm(v) for k, v in averages.items()}
            candidates["raw"] = copy.deepcopy(state.generator).eval()
            keep_images(candidates, folder, epoch)


def keep_images(candidates: dict[str, Generator], folder: Path, epoch: int) -> None:
    """Write each candidate's images, uint8 `(n, 3, S, S)`."""
    for name, generator in candidates.items():
        with torch.no_grad():
            images: Tensor = torch.cat(list(generate_images(generator, N_SAMPLES)))
        path = folder / f"epoch {epoch:02d} {name}.npy"
        write_atomic(path, lambda file, images=images: np.save(file, images.numpy()))


Scores = dict[str, dict[str, dict[str, float]]]
"""Metric → "config seed" → "epoch candidate" → score."""


def score_all(data: Path, work: Path, extractor: Extractor, seeds: list[int]) -> Scores:
    """Score the images of the seeds' finished runs; each run's scores are kept in its folder."""
    bank = load_bank(DataConfig(root=data))
    real = extract(extractor, bank.images)
    scores: Scores = {}
    for last in sorted(work.glob("*/done")):
        if int(last.parent.name.rpartition(" ")[2]) not in seeds:
            continue
        done = last.with_name(f"scores {extractor.fingerprint[:12]} {bank.fingerprint[:12]}.json")
        if not done.exists():
            write_text_atomic(done, json.dumps(score_run(last.parent, real, extractor)))
        for metric, values in json.loads(done.read_text()).items():
            scores.setdefault(metric, {})[last.parent.name] = values
    return scores


def score_run(folder: Path, real: Tensor, extractor: Extractor) -> dict[str, dict[str, float]]:
    """Metric → "epoch candidate" → score; intervals for the reference recipe only."""
    result: dict[str, dict[str, float]] = {}
    gaussian = fit_gaussian(real)
    for file in sorted(folder.glob("epoch *.npy")):
        fake = extract(extractor, torch.from_numpy(np.load(file)))
        values = {"kernel": kernel_distance(real, fake).value}
        if folder.name.startswith("reference") and file.stem.endswith(SHOWN):
            interval = frechet_interval(gaussian, fake)
            values |= {"frechet": interval.value, "low": interval.low, "high": interval.high}
        else:
            values["frechet"] = distance_between(gaussian, fit_gaussian(fake))
        for metric, value in values.items():
            result.setdefault(metric, {})[file.stem.removeprefix("epoch ")] = value
    return result


def print_tables(scores: Scores) -> None:
    """Seed noise, rank stability, prediction."""
    largest = max(max(values.values()) for values in scores["frechet"].values())
    digits = 0 if largest > 100 else 2
    print("Reference recipe: Fréchet distance (95 % interval over other fakes)\n")
    runs = [run for run in scores["frechet"] if run.startswith("reference")]
    print(
        "| epoch | model | " + " | ".join(f"seed {run.rpartition(' ')[2]}" for run in runs) + " |"
    )
    print("|---|---|" + "---|" * len(runs))
    epochs = epochs_of(scores["frechet"])
    for epoch in epochs:
        for model in SHOWN:
            key = f"{epoch:02d} {model}"
            cells = [
                f"{scores['frechet'][run][key]:.{digits}f} "
                f"({scores['low'][run][key]:.{digits}f}–{scores['high'][run][key]:.{digits}f})"
                for run in runs
            ]
            print(f"| {epoch} | {model} | {' | '.join(cells)} |")
    if len({run.rpartition(" ")[0] for run in scores["frechet"]}) < 3:
        print("\nRanking configs takes at least three of them.")
        return
    print("\nHow well scores at an epoch rank the configs\n")
    print(
        "| metric | scored | epoch | seeds agree, ρ | config share of variance | predicts full, ρ |"
    )
    print("|---|---|---|---|---|---|")
    for metric in ("frechet", "kernel"):
        table = as_table(scores[metric])
        full = table[f"{epochs[-1]:02d} {SHOWN[-1]}"].mean(axis=1)  # (configs,)
        for number, epoch in enumerate(epochs, 1):
            last = f"{epoch:02d} "
            columns = {key.removeprefix(last): table[key] for key in table if key.startswith(last)}
            for model in SHOWN:
                so_far = [table[f"{before:02d} {model}"] for before in epochs[:number]]
                columns[f"best so far, {model}"] = np.min(so_far, axis=0)
            for model, values in columns.items():
                cells = (agreement(values), config_share(values), prediction(values, full))
                shown = " | ".join(f"{cell:.2f}" for cell in cells)
                print(f"| {metric} | {model} | {epoch} | {shown} |")


def epochs_of(scores: dict[str, dict[str, float]]) -> list[int]:
    """The epochs at which all runs were scored."""
    return sorted(
        set.intersection(*({int(key.split()[0]) for key in run} for run in scores.values()))
    )


def as_table(scores: dict[str, dict[str, float]]) -> dict[str, npt.NDArray[np.float64]]:
    """ "epoch candidate" → scores `(configs, seeds)`, of the configs that have all seeds."""
    names = sorted({run.rpartition(" ")[0] for run in scores})
    seeds = sorted({run.rpartition(" ")[2] for run in scores})
    whole = [name for name in names if all(f"{name} {seed}" in scores for seed in seeds)]
    keys = next(iter(scores.values()))
    return {
        key: np.array([[scores[f"{name} {seed}"][key] for seed in seeds] for name in whole])
        for key in keys
    }


def agreement(values: npt.NDArray[np.float64]) -> float:
    """Mean Spearman correlation between two seeds' rankings of the configs."""
    pairs = combinations(values.T, 2)
    return float(np.mean([spearmanr(one, other).statistic for one, other in pairs]))


def config_share(values: npt.NDArray[np.float64]) -> float:
    """Share of the variance of log scores that lies between configs (intraclass correlation)."""
    logs = np.log(np.maximum(values, 1e-6))
    seeds = logs.shape[1]
    within = logs.var(axis=1, ddof=1).mean()
    between = max(0.0, logs.mean(axis=1).var(ddof=1) - within / seeds)
    return float(between / (between + within))


def prediction(values: npt.NDArray[np.float64], full: npt.NDArray[np.float64]) -> float:
    """Mean Spearman correlation of one seed's scores with the configs' mean full scores."""
    return float(np.mean([spearmanr(column, full).statistic for column in values.T]))


if __name__ == "__main__":
    main()
