"""Which features see what a picture shows? Compares extractors with an independent network.

    python -m benchmarks.evaluation.sees response --data PHOTOS --work DIR
    python -m benchmarks.evaluation.sees rank --data PHOTOS --runs FOLDER --work DIR

Candidates are EfficientNet-Lite0's features (the last block's, alone or with those of stride 16;
the head's; block and head) of images resized to several sides, and `layout`. The independent judge
is the head of EfficientNet-Lite2 at 160 pixels, by kernel and by Fréchet distance.

`response`: photos are harmed, and distances measured between random halves: half of the photos as
they are, the other half harmed. The figure is the number of standard deviations (over splits,
without harm) above the mean without harm. --other adds images of another class; without it toy cats
stand in.

`rank`: scores 1,024 images of both generators (moving average and last weights) of every checkpoint
below --runs, and the files of images that `score_models` wrote there (after some --epochs), against
all photos. It keeps the scores in --work and prints the rank correlation (Spearman) of each
candidate's order with the judge's: among moving averages, among last weights, and over both.
--table prints every score. Several processes may share the work.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from scipy.stats import spearmanr
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as TF

from benchmarks.evaluation.metric_response import add_noise, jpeg, shuffle_patches, splice
from dcgan.config.train_config import DataConfig
from dcgan.data.bank import load_bank
from dcgan.errors import CheckpointError
from dcgan.evaluation.extractors.base import extract_with_classes
from dcgan.evaluation.extractors.imagenet import load_imagenet
from dcgan.evaluation.extractors.registry import load_extractor
from dcgan.evaluation.metrics.frechet import frechet_distance
from dcgan.evaluation.metrics.kernel import kernel_distance
from dcgan.models.sampling import generate_images
from dcgan.runtime.files import write_atomic, write_text_atomic
from dcgan.training.run.checkpoint import load_checkpoint, load_generator

SIDES = (64, 96, 128)
JUDGE, JUDGE_SIDE = "lite2", 160
IMAGES = ("raw", "ema", "ema 2000")
"""The generators whose files of images are scored."""
N_SAMPLES = 1024
CPU = torch.device("cpu")
CATS = (281, 285)
"""ImageNet's classes of cats, both included."""
Harm = Callable[[Tensor, torch.Generator], Tensor]
Features = dict[str, Tensor]
"""Name of the features → float64 (N, d)."""
FEWER = (256, 512)
"""Numbers of images with which the chosen kinds of features are scored as well."""


class Seers:
    """All networks, each run once on a set of images."""

    def __init__(self, sides: tuple[int, ...], judge: bool = True) -> None:
        both = ("block", "head")
        self.networks = {
            f"lite0 {side}": load_imagenet(CPU, side=side, layers=both, class_side=side)
            for side in sides
        }
        if judge:
            self.networks["judge"] = load_imagenet(
                CPU, variant=JUDGE, side=JUDGE_SIDE, layers=both, class_side=JUDGE_SIDE
            )
        self.middle: dict[str, list[Tensor]] = {name: [] for name in self.networks}
        for name, extractor in self.networks.items():
            network = extractor.function.args[0]  # type: ignore[attr-defined]
            block = network._blocks[network.ends[2] - 1]
            block.register_forward_hook(partial(_keep_means, self.middle[name]))
        self.layout = load_extractor("layout", CPU)
        fingerprints = [one.fingerprint for one in [*self.networks.values(), self.layout]]
        self.identity = " ".join(fingerprints)

    def __call__(self, images: Tensor) -> tuple[Features, dict[str, float]]:
        """Features by name, and the share of images that are called a cat by network."""
        found: Features = {"layout": extract_with_classes(self.layout, images)[0]}
        cats = {}
        for name, network in self.networks.items():
            self.middle[name].clear()
            features, classes = extract_with_classes(network, images)
            assert classes is not None
            cats[name] = float(((classes >= CATS[0]) & (classes <= CATS[1])).double().mean())
            block = features.shape[1] - 1280
            found[f"{name} block"], found[f"{name} head"] = features[:, :block], features[:, block:]
            found[f"{name} both"] = features
            middle = torch.cat(self.middle[name]).double()
            found[f"{name} middle + block"] = torch.cat([middle, features[:, :block]], dim=1)
        return found, cats


def _keep_means(kept: list[Tensor], module: nn.Module, inputs: object, output: Tensor) -> None:
    kept.append(output.mean(dim=(2, 3)))


def distances(real: Features, fake: Features) -> dict[str, float]:
    """Fréchet and kernel distance by each kind of features."""
    found = {}
    for name in real:
        found[f"{name} fd"] = frechet_distance(real[name], fake[name])
        found[f"{name} kd"] = kernel_distance(real[name], fake[name]).value
    return found


def harms(other: Tensor) -> dict[str, Harm]:
    """Name → what is done to uint8 images `(N, 3, S, S)`."""

    def blur(sigma: float) -> Harm:
        return lambda x, rng: TF.gaussian_blur(x, [25, 25], [sigma, sigma])

    return {
        "blur, sigma 1": blur(1.0),
        "blur, sigma 2": blur(2.0),
        "noise, 5 grey levels": lambda x, rng: add_noise(x, 5, rng),
        "noise, 15 grey levels": lambda x, rng: add_noise(x, 15, rng),
        "hue shifted by 0.1": lambda x, rng: TF.adjust_hue(x, 0.1),
        "JPEG quality 30": lambda x, rng: jpeg(x, 30),
        "2×2 patches shuffled": lambda x, rng: shuffle_patches(x, 2, rng),
        "4×4 patches shuffled": lambda x, rng: shuffle_patches(x, 4, rng),
        "8×8 patches shuffled": lambda x, rng: shuffle_patches(x, 8, rng),
        "halves of two photos": splice,
        "upside down": lambda x, rng: x.flip(2),
        "upside down, mirrored": lambda x, rng: x.flip(2, 3),
        "rotated by 10°": lambda x, rng: TF.rotate(x, 10),
        "10 % another class": lambda x, rng: replace(x, other, 0.1, rng),
        "30 % another class": lambda x, rng: replace(x, other, 0.3, rng),
        "100 % another class": lambda x, rng: replace(x, other, 1.0, rng),
    }


def replace(images: Tensor, other: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """Images of another class in place of a random share."""
    changed = torch.rand(len(images), generator=rng) < share
    repeated = other.repeat(-(-len(images) // len(other)), 1, 1, 1)[: len(images)]
    return torch.where(changed[:, None, None, None], repeated, images)


def response(images: Tensor, other: Tensor, splits: int, work: Path) -> dict[str, dict[str, float]]:
    """Harm → distance → standard deviations from unseen photos."""
    seers, whole = Seers(SIDES), dict[str, Features]()
    cases: dict[str, Harm] = {"nothing": lambda x, rng: x, **harms(other)}
    for name, harm in cases.items():
        changed = harm(images, torch.Generator().manual_seed(0))
        key = hashlib.sha256(changed.numpy().tobytes() + seers.identity.encode()).hexdigest()[:24]
        kept = work / f"{key}.pt"
        if not kept.exists():
            found = seers(changed)
            write_atomic(kept, lambda file, found=found: torch.save(found, file))
        whole[name], cats = torch.load(kept, weights_only=True)
        print(f"seen as cats: {name}", _shares(cats), flush=True)
    rng = torch.Generator().manual_seed(1)
    runs: dict[str, list[dict[str, float]]] = {}
    half = len(images) // 2
    for _ in range(splits):
        order = torch.randperm(len(images), generator=rng)
        real_rows, rows = order[:half], order[half : 2 * half]
        real = {name: one[real_rows] for name, one in whole["nothing"].items()}
        pairs = {name: (features, rows) for name, features in whole.items()}
        for kept in (0.5, 0.2, 0.05):
            some = rows[: round(kept * half)].repeat(-(-half // round(kept * half)))[:half]
            pairs[f"only {kept:.0%} of the photos"] = (whole["nothing"], some)
        for name, (features, chosen) in pairs.items():
            fake = {key: one[chosen] for key, one in features.items()}
            runs.setdefault(name, []).append(distances(real, fake))
    result: dict[str, dict[str, float]] = {}
    floor = {key: torch.tensor([run[key] for run in runs["nothing"]]) for key in runs["nothing"][0]}
    for name, found in runs.items():
        means = {key: sum(run[key] for run in found) / len(found) for key in floor}
        result[name] = {
            key: (means[key] - float(one.mean())) / float(one.std()) for key, one in floor.items()
        }
    return result


def rank(
    images: Tensor, runs: Path, work: Path, epochs: list[int] | None
) -> dict[str, dict[str, float]]:
    """Generator → distances, and shares of cats as "NETWORK cats"."""
    seers = Seers(SIDES)
    real: Features | None = None
    scores = {}
    for path, model in generators(runs, epochs):
        stat = path.stat()
        key = f"{path.resolve()} {stat.st_mtime_ns} {stat.st_size} {model} {seers.identity}"
        kept = work / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"
        name = f"{path.relative_to(runs).with_suffix('')} | {model}"
        lock = FileLock(kept.with_suffix(".lock"), blocking=False)
        with suppress(Timeout), lock:
            if kept.exists():
                scores[name] = json.loads(kept.read_text())
                continue
            try:
                fakes = images_of(path, model)
            except CheckpointError as error:
                print(f"left out: {error}")
                continue
            real = seers(images)[0] if real is None else real
            features, cats = seers(fakes)
            found = distances(real, features)
            found |= {f"{network} cats": share for network, share in cats.items()}
            for count in FEWER:
                few = {key: one[:count] for key, one in features.items() if "judge" not in key}
                fewer = distances({key: real[key] for key in few}, few)
                found |= {f"{key}, {count} images": value for key, value in fewer.items()}
            write_text_atomic(kept, json.dumps(found))
            scores[name] = found
            print(f"scored {name}", flush=True)
    return scores


def generators(runs: Path, epochs: list[int] | None) -> Iterator[tuple[Path, str]]:
    """Checkpoints, twice each, and files of images, with the generator's kind: ema or raw."""
    for path in sorted([*runs.rglob("checkpoint.pt"), *runs.rglob("epoch *.npy")]):
        if path.suffix == ".pt":
            yield from ((path, "ema"), (path, "raw"))
            continue
        _, epoch, model = path.stem.split(maxsplit=2)
        if model in IMAGES and (epochs is None or int(epoch) in epochs):
            yield path, model.partition(" ")[0]


def images_of(path: Path, model: str) -> Tensor:
    """uint8 `(N_SAMPLES, 3, S, S)`."""
    if path.suffix == ".npy":
        return torch.from_numpy(np.load(path))[:N_SAMPLES]
    generator = load_generator(load_checkpoint(path), model, CPU)
    return torch.cat(list(generate_images(generator, N_SAMPLES)))


def correlations(scores: dict[str, dict[str, float]]) -> Iterator[str]:
    """Lines of a table: each candidate's rank correlation with the judge's two distances."""
    groups = {
        "ema": [name for name in scores if name.endswith("| ema")],
        "raw": [name for name in scores if name.endswith("| raw")],
        "both": list(scores),
    }
    judges = ("judge head kd", "judge head fd")
    heads = [f"{judge[11:]}, {group}" for judge in judges for group in groups]
    counts = ", ".join(f"{len(names)} {group}" for group, names in groups.items())
    yield f"Rank correlation with the judge's head ({counts})\n"
    yield f"| features | {' | '.join(heads)} |"
    yield f"|---|{'---|' * len(heads)}"
    for key in next(iter(scores.values())):
        sign = -1.0 if key.endswith(" cats") else 1.0
        cells = []
        for judge in judges:
            for names in groups.values():
                mine = [sign * scores[name][key] for name in names]
                theirs = [scores[name][judge] for name in names]
                cells.append(f"{spearmanr(mine, theirs).statistic:.2f}" if len(names) > 2 else "–")
        yield f"| {key} | {' | '.join(cells)} |"


def markdown(table: dict[str, dict[str, float]], digits: int) -> Iterator[str]:
    """One row for each key, in columns of the inner keys."""
    columns = list(next(iter(table.values())))
    yield f"| | {' | '.join(columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for name, row in table.items():
        yield f"| {name} | {' | '.join(f'{row[key]:.{digits}f}' for key in columns)} |"


def _shares(cats: dict[str, float]) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in cats.items())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["response", "rank"])
    parser.add_argument("--data", type=Path, required=True, help="folder of photos")
    parser.add_argument("--other", type=Path, help="folder of images of another class")
    parser.add_argument("--runs", type=Path, help="folder with checkpoints below it")
    parser.add_argument("--work", type=Path, required=True, help="folder for what was computed")
    parser.add_argument("--epochs", type=int, nargs="+", help="of the files of images")
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="print every generator's scores")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    images = load_bank(DataConfig(root=arguments.data)).images
    if arguments.what == "response":
        different = DataConfig(source="toy_cats", toy_count=len(images))
        if arguments.other is not None:
            different = DataConfig(root=arguments.other)
        result = response(images, load_bank(different).images, arguments.splits, arguments.work)
        turned = {
            key: {name: row[key] for name, row in result.items()} for key in result["nothing"]
        }
        print("\n".join(markdown(turned, 1)))
        return
    if arguments.runs is None:
        parser.error("rank needs --runs")
    scores = rank(images, arguments.runs, arguments.work, arguments.epochs)
    if not scores:
        print(f"no checkpoint below {arguments.runs}")
        return
    if arguments.table:
        print("\n".join(markdown(scores, 4)), "\n")
    print("\n".join(correlations(scores)))


if __name__ == "__main__":
    main()
