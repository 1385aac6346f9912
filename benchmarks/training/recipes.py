"""What is each technique worth at equal seconds of training? Trains recipes × seeds and compares.

    python -m benchmarks.training.recipes train --data PHOTOS --work DIR
    python -m benchmarks.training.recipes table --data PHOTOS --work DIR
    python -m benchmarks.training.recipes cost --data PHOTOS --work DIR

`train` first measures how fast each recipe trains here: they take turns, and the best turn of each
counts. Then it trains each for as many epochs as fit in --seconds at that speed, with each seed.
Several processes may share the work (start the command again), and finished runs are kept.

`table` compares every recipe with the first one, seed by seed: the Fréchet distance (by
--extractor) minus the noise floor, its change with a 95 % interval over seeds, the share of
recognised images, and the memorised fraction. For a combination ("a + b") it also divides the
distance by what its parts' changes would give if they multiplied. --judge scores the final images
by other networks as well.

`cost` prints the milliseconds of a step and of a hundred images.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock, Timeout
from scipy import stats

from dcgan.api import Scoring
from dcgan.config.settings import load_train_config, override, parse_assignments
from dcgan.config.train_config import TrainConfig
from dcgan.data.bank import load_bank
from dcgan.evaluation.extractors.base import Extractor, extract, extract_with_classes
from dcgan.evaluation.extractors.imagenet import load_imagenet
from dcgan.evaluation.extractors.registry import load_extractor
from dcgan.evaluation.floor_report import report_floor
from dcgan.evaluation.metrics.frechet import distance_between, fit_gaussian
from dcgan.evaluation.metrics.recognised import recognised
from dcgan.models.sampling import generate_images
from dcgan.runtime.files import write_text_atomic
from dcgan.training.loop import train
from dcgan.training.run.checkpoint import load_checkpoint, load_generator
from dcgan.training.speed import images_per_second

TURNS = 5
TOYS = {"data.source": "toy_cats"}
START: dict[str, Any] = {"augment.flip": 0.5, "augment.blur_sigma": 0, "model.ngf": 32}
"""What every technique is added to, one at a time."""
COLOUR = {"augment.diff_colour": 1}
NEAREST = {"model.upsample": "nearest"}
SMALL_BATCH = {"train.batch_size": 8}
RECIPES: dict[str, dict[str, Any]] = {
    "start": START,
    "translation": START | {"augment.diff_translation": 1},
    "colour": START | COLOUR,
    "cutout": START | {"augment.diff_cutout": 1},
    "batch 8": START | SMALL_BATCH,
    "decay": START | {"optim.decay_fraction": 0.5},
    "nearest": START | NEAREST,
    "slow D": START | {"optim.lr_d": 5e-5},
    "hinge": START | {"loss.kind": "hinge"},
    "nearest + batch 8": START | NEAREST | SMALL_BATCH,
    "nearest + colour": START | NEAREST | COLOUR,
    "batch 8 + colour": START | SMALL_BATCH | COLOUR,
    "nearest + batch 8 + colour": START | NEAREST | SMALL_BATCH | COLOUR,
}
"""Each is the reference recipe with these changes. A name that is none of these is that of a config
or its path, and may be followed by settings: "best model.upsample=transposed"."""


def main() -> None:
    """Train or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("phase", choices=["train", "table", "cost"])
    parser.add_argument("--data", type=Path, help="folder of photos (default: toy cats)")
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--seconds", type=float, default=262, help="of training, for each run")
    parser.add_argument("--precision", default="bf16", choices=["fp32", "bf16"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--extractor", default="joint", help="of the distances in the table")
    parser.add_argument("--judge", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.phase == "train":
        train_all(arguments)
    elif arguments.phase == "cost":
        for line in cost(arguments):
            print(line)
    else:
        for line in table(read_all(arguments), arguments.recipes):
            print(line)


def recipe(name: str, arguments: argparse.Namespace, seed: int) -> TrainConfig:
    """The config of a recipe, as it is compared here."""
    source = {"data.root": str(arguments.data.resolve())} if arguments.data else TOYS
    changes = {
        **source,
        "train.seed": seed,
        "train.threads": arguments.threads,
        "train.precision": arguments.precision,
        "train.device": "cpu",
        "train.grid_every_steps": 1_000_000,
        "train.checkpoint_every_epochs": 1_000_000,
        "eval.extractor": "joint",
        "eval.every_epochs": 0,
    }
    if name in RECIPES:
        return load_train_config("reference", changes | RECIPES[name])
    config, *settings = shlex.split(name)
    return load_train_config(config, changes | parse_assignments(settings))


def title(name: str) -> str:
    """A recipe's name, for tables and folders."""
    config, *settings = [name] if name in RECIPES else shlex.split(name)
    return " ".join([Path(config).stem if config.endswith(".yaml") else config, *settings])


def train_all(arguments: argparse.Namespace) -> None:
    """Train what is not there yet; a lock keeps two processes from the same run."""
    photos = len(load_bank(recipe(arguments.recipes[0], arguments, 0).data).images)
    rates = rates_here(arguments)
    for seed in arguments.seeds:
        for name in arguments.recipes:
            folder = arguments.work / f"{title(name)} {seed}"
            folder.mkdir(parents=True, exist_ok=True)
            with suppress(Timeout), FileLock(folder / "lock", blocking=False):
                if (folder / "result.json").exists():
                    continue
                epochs = max(1, round(arguments.seconds * rates[name] / photos))
                config = override(recipe(name, arguments, seed), {"train.epochs": epochs})
                # A run that was killed starts anew: it has no checkpoint before its end.
                result = train(config, folder, resume=True)
                print(
                    f"{folder.name}: {epochs} epochs, {result.training_seconds:.0f} s", flush=True
                )


def rates_here(arguments: argparse.Namespace) -> dict[str, float]:
    """Images per second of each recipe. They are measured side by side, once for a work folder.

    So what else the machine does later makes no recipe train longer than another.
    """
    arguments.work.mkdir(parents=True, exist_ok=True)
    path = arguments.work / "rates.json"
    with FileLock(arguments.work / "lock"):
        rates: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
        missing = {name: 0.0 for name in arguments.recipes if name not in rates}
        for _ in range(TURNS):
            for name in missing:
                rate = images_per_second(recipe(name, arguments, 0))
                missing[name] = max(missing[name], rate)
        write_text_atomic(path, json.dumps(rates | missing))
    return rates | missing


def cost(arguments: argparse.Namespace) -> list[str]:
    """A Markdown table of how long the steps of all recipes take."""
    rates = rates_here(arguments)
    first = rates[arguments.recipes[0]]
    lines = ["| recipe | ms a step | ms for 100 images | |", "|---|---|---|---|"]
    for name in arguments.recipes:
        step = 1000 * recipe(name, arguments, 0).train.batch_size / rates[name]
        lines.append(
            f"| {title(name)} | {step:.0f} | {1e5 / rates[name]:.0f} | "
            f"{first / rates[name]:.2f} × |"
        )
    return lines


class Outcome(NamedTuple):
    """One run."""

    seconds: float
    milliseconds: float
    """Of a step."""
    distance: float
    """Minus the noise floor."""
    recognised: float
    memorised: float
    judged: float
    """Fréchet distance by EfficientNet-Lite2; nan if no judge was asked for."""
    judged_recognised: float
    layout: float
    """Fréchet distance by `layout`, the same."""


def read_all(arguments: argparse.Namespace) -> dict[str, dict[int, Outcome]]:
    """Recipe → seed → run, of those that have finished."""
    bank = load_bank(recipe(arguments.recipes[0], arguments, 0).data)
    extractor = load_extractor(arguments.extractor, "cpu")
    score = Score(extractor, extract(extractor, bank.images))
    judge = Judge(bank.images) if arguments.judge else None
    found: dict[str, dict[int, Outcome]] = {}
    for name in arguments.recipes:
        for seed in arguments.seeds:
            folder = arguments.work / f"{title(name)} {seed}"
            if (folder / "result.json").exists():
                found.setdefault(name, {})[seed] = read(folder, score, judge)
    return found


class Score:
    """The distance of one extractor, and its noise floor."""

    def __init__(self, extractor: Extractor, photos: torch.Tensor) -> None:
        self.extractor, self.name = extractor, extractor.frechet_name
        self.real, self.floor = fit_gaussian(photos), report_floor(photos).here

    def __call__(self, folder: Path) -> float:
        return distance_between(self.real, fit_gaussian(extract(self.extractor, images_of(folder))))


def images_of(folder: Path) -> torch.Tensor:
    """1,024 images of a run's moving average, uint8 (N, 3, S, S)."""
    checkpoint = load_checkpoint(folder / "checkpoint.pt")
    generator = load_generator(checkpoint, "ema", torch.device("cpu"))
    with torch.no_grad():
        return torch.cat(list(generate_images(generator, 1024)))


def read(folder: Path, score: Score, judge: Judge | None) -> Outcome:
    """One finished run; what takes time is kept in its folder."""
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    scores = result["final"]
    kept = folder / "more.json"
    more: dict[str, float] = json.loads(kept.read_text()) if kept.exists() else {}
    if "memorised" not in more:
        more["memorised"] = Scoring(folder / "checkpoint.pt").memorisation().pictures.fraction
    if judge and "layout" not in more:
        more |= judge(folder)
    if score.name not in more:
        # A run of an earlier release may have been scored by another extractor.
        more[score.name] = scores[score.name] if score.name in scores else score(folder)
    write_text_atomic(kept, json.dumps(more))
    return Outcome(
        result["training_seconds"],
        1000 * result["training_seconds"] / result["steps"],
        more[score.name] - score.floor,
        scores.get("recognised", math.nan),
        more["memorised"],
        more.get("judged", math.nan),
        more.get("judged_recognised", math.nan),
        more.get("layout", math.nan),
    )


class Judge:
    """Two networks that neither train nor score.

    EfficientNet-Lite2 at 160 pixels is a relative of those that do. `layout` was never trained, so
    nothing that pleases networks trained on ImageNet pleases it; it sees colours and textures.
    """

    def __init__(self, photos: torch.Tensor) -> None:
        device = torch.device("cpu")
        self.lite2 = load_imagenet(device, variant="lite2", side=160, class_side=160)
        self.layout = load_extractor("layout", device)
        features, self.classes = extract_with_classes(self.lite2, photos)
        self.real = fit_gaussian(features)
        self.real_layout = fit_gaussian(extract(self.layout, photos))

    def __call__(self, folder: Path) -> dict[str, float]:
        images = images_of(folder)
        features, classes = extract_with_classes(self.lite2, images)
        layout = fit_gaussian(extract(self.layout, images))
        assert self.classes is not None
        assert classes is not None
        share = recognised(self.classes, classes)
        return {
            "judged": distance_between(self.real, fit_gaussian(features)),
            "judged_recognised": math.nan if share is None else share.share,
            "layout": distance_between(self.real_layout, layout),
        }


def table(found: Mapping[str, Mapping[int, Outcome]], names: list[str]) -> list[str]:
    """A Markdown table; the first recipe is what the others are compared with."""
    lines = [
        "| recipe | seconds | ms a step | distance − floor | change | beside its parts | "
        "recognised | memorised | judge | judge recognised | layout |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    present = [name for name in names if found.get(name)]
    seeds = set.intersection(*(set(found[name]) for name in present)) if present else set()
    logs = {name: np.log([found[name][s].distance for s in sorted(seeds)]) for name in present}
    for name in present:
        mean = Outcome(*np.mean([list(run) for run in found[name].values()], axis=0))
        parts = [part for part in name.split(" + ") if part in logs]
        apart = {name: 1, **dict.fromkeys(parts, -1), names[0]: len(parts) - 1}
        cells = [
            title(name),
            f"{mean.seconds:.0f}",
            f"{mean.milliseconds:.0f}",
            f"{mean.distance:.0f}",
            change_of(logs, {name: 1, names[0]: -1}) if name != names[0] else "",
            change_of(logs, apart) if len(parts) > 1 else "",
            known(mean.recognised, ".1%"),
            f"{mean.memorised:.1%}",
            known(mean.judged, ".0f"),
            known(mean.judged_recognised, ".1%"),
            known(mean.layout, ".2f"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def known(value: float, form: str) -> str:
    """A number, or nothing where it is not known."""
    return "" if math.isnan(value) else format(value, form)


def change_of(logs: Mapping[str, np.ndarray], weights: Mapping[str, int]) -> str:
    """The factor that a weighted sum of logarithms stands for, as a change, with its 95 % interval.

    `logs` holds a row of the same seeds for every recipe. What is left of them after the means of
    recipes and of seeds is noise, and its variance is taken to be that of every recipe: three seeds
    alone would say little about it (two-way analysis of variance without replication).
    """
    if any(name not in logs for name in weights):
        return ""
    values = np.array(list(logs.values()))
    recipes, seeds = values.shape
    if not seeds:
        return ""
    mean = sum(weight * float(logs[name].mean()) for name, weight in weights.items())
    freedom = (recipes - 1) * (seeds - 1)
    if not freedom:
        return f"{math.expm1(mean):+.0%}"
    noise = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    spread = math.sqrt(sum(weight**2 for weight in weights.values()) / seeds)
    half = stats.t.ppf(0.975, freedom) * math.sqrt((noise**2).sum() / freedom) * spread
    low, high = math.expm1(mean - half), math.expm1(mean + half)
    return f"{math.expm1(mean):+.0%} ({low:+.0%} to {high:+.0%})"


if __name__ == "__main__":
    main()
