"""What does each metric see? Photos are degraded in steps, and every metric is computed.

    python -m benchmarks.evaluation.metric_response --data PHOTOS --other OTHER_PHOTOS

The photos (without --data: toy cats) are split at random into halves. One half stands for the
photos, the other, degraded, for generated images. A distance is divided by its value without
degradation (the floor of this size) and averaged over the splits; precision, recall, density and
coverage are given as they are. z is the number of standard deviations (between splits, without
degradation) above the floor. Images of another class come from --other; without it, toy cats stand
in if --data is given.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from dcgan.config.train_config import DataConfig
from dcgan.data.bank import load_bank
from dcgan.evaluation.extractors.base import Extractor, extract
from dcgan.evaluation.extractors.registry import load_extractor
from dcgan.evaluation.metrics.frechet import frechet_distance
from dcgan.evaluation.metrics.kernel import kernel_distance
from dcgan.evaluation.metrics.manifold import precision_recall_density_coverage

Harm = Callable[[Tensor, torch.Generator], Tensor]
SHARES = ("precision", "recall", "density", "coverage")


def harms(other: Tensor | None) -> dict[str, Harm]:
    """Name → what is done to uint8 images `(N, 3, S, S)`; another class only if there is one."""
    table: dict[str, Harm] = {"nothing": lambda x, rng: x}
    for sigma in (0.5, 1.0, 2.0):
        table[f"blur, sigma {sigma}"] = lambda x, rng, s=sigma: TF.gaussian_blur(
            x, [13, 13], [s, s]
        )
    for grey in (5, 15, 40):
        table[f"noise, {grey} grey levels"] = lambda x, rng, g=grey: add_noise(x, g, rng)
    for shift in (0.02, 0.1, 0.3):
        table[f"hue shifted by {shift}"] = lambda x, rng, h=shift: TF.adjust_hue(x, h)
    for degrees in (5, 10, 30):
        table[f"rotated by {degrees}°"] = lambda x, rng, d=degrees: TF.rotate(x, d)
    for quality in (75, 30, 10):
        table[f"JPEG quality {quality}"] = lambda x, rng, q=quality: jpeg(x, q)
    for kept in (50, 20, 5):
        table[f"only {kept} % of the modes"] = lambda x, rng, k=kept: drop_modes(x, k / 100)
    for grid in (2, 4, 8):
        table[f"{grid}×{grid} patches shuffled"] = lambda x, rng, g=grid: shuffle_patches(x, g, rng)
    table["halves of two photos"] = splice
    table["upside down"] = lambda x, rng: x.flip(2)
    table["upside down, mirrored"] = lambda x, rng: x.flip(2, 3)
    if other is not None:
        for part in (10, 30, 100):
            table[f"{part} % another class"] = lambda x, rng, p=part: replace(x, other, p / 100)
    return table


def add_noise(images: Tensor, grey_levels: float, rng: torch.Generator) -> Tensor:
    """Gaussian noise of this standard deviation."""
    noise = torch.randn(images.shape, generator=rng) * grey_levels
    return (images.float() + noise).round().clamp(0, 255).to(torch.uint8)


def jpeg(images: Tensor, quality: int) -> Tensor:
    """Saved and read again as JPEG."""
    again = []
    for image in images.permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(image).save(file, format="JPEG", quality=quality)
        again.append(np.asarray(Image.open(file)))
    return torch.from_numpy(np.stack(again)).permute(0, 3, 1, 2).contiguous()


def drop_modes(images: Tensor, share: float) -> Tensor:
    """Only the first share of the images, repeated to the same number."""
    kept = images[: max(2, round(share * len(images)))]
    return kept.repeat(-(-len(images) // len(kept)), 1, 1, 1)[: len(images)]


def shuffle_patches(images: Tensor, grid: int, rng: torch.Generator) -> Tensor:
    """Cut into grid × grid patches and put together in another order, each image its own."""
    count, channels, side, _ = images.shape
    patch = side // grid
    cut = images.reshape(count, channels, grid, patch, grid, patch).permute(0, 2, 4, 1, 3, 5)
    cut = cut.reshape(count, grid * grid, channels, patch, patch)
    order = torch.rand(count, grid * grid, generator=rng).argsort(dim=1)
    mixed = cut[torch.arange(count)[:, None], order]
    mixed = mixed.reshape(count, grid, grid, channels, patch, patch).permute(0, 3, 1, 4, 2, 5)
    return mixed.reshape(count, channels, side, side)


def splice(images: Tensor, rng: torch.Generator) -> Tensor:
    """The left half of each image beside the right half of another."""
    middle = images.shape[3] // 2
    others = images[torch.randperm(len(images), generator=rng).roll(1)]
    return torch.cat([images[..., :middle], others[..., middle:]], dim=3)


def replace(images: Tensor, other: Tensor, share: float) -> Tensor:
    """Put images of another class in place of the first ones."""
    count = round(share * len(images))
    return torch.cat([other[:count], images[count:]])


def answers(real: Tensor, fake: Tensor, frechet_name: str, kernel_name: str) -> dict[str, float]:
    """Every metric of two sets of features."""
    manifold = precision_recall_density_coverage(real, fake)
    return {
        frechet_name: frechet_distance(real, fake),
        kernel_name: kernel_distance(real, fake).value,
        **manifold._asdict(),
    }


def measure(
    images: Tensor, other: Tensor | None, extractor: Extractor, splits: int
) -> dict[str, dict[str, float]]:
    """Harm → metric → mean answer, and the z of the distances."""
    table = harms(other)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in table}
    half = len(images) // 2
    for split in range(splits):
        rng = torch.Generator().manual_seed(split)
        order = torch.randperm(len(images), generator=rng)
        real = extract(extractor, images[order[:half]])
        generated = images[order[half : 2 * half]]
        for name, harm in table.items():
            fake = extract(extractor, harm(generated, rng))
            found[name].append(answers(real, fake, extractor.frechet_name, extractor.kernel_name))
    result: dict[str, dict[str, float]] = {}
    for name, runs in found.items():
        row = {key: statistics.fmean(run[key] for run in runs) for key in runs[0]}
        for key in (extractor.frechet_name, extractor.kernel_name):
            floor = [run[key] for run in found["nothing"]]
            spread = statistics.stdev(floor) if splits > 1 else float("nan")
            row[f"z {key}"] = (row[key] - statistics.fmean(floor)) / spread
        row["times_floor"] = row[extractor.frechet_name] / statistics.fmean(
            run[extractor.frechet_name] for run in found["nothing"]
        )
        result[name] = row
    return result


def as_markdown(result: dict[str, dict[str, float]], fd: str, kd: str) -> str:
    """One row a harm."""
    lines = [
        f"| harm | {fd} ÷ floor | z {fd} | z {kd} | precision | recall | density | coverage |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in result.items():
        cells = [f"{row['times_floor']:.2f}", f"{row[f'z {fd}']:.1f}", f"{row[f'z {kd}']:.1f}"]
        cells += [f"{row[key]:.2f}" for key in SHARES]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(result: dict[str, dict[str, float]], fd: str, path: Path) -> None:
    """Bars of the Fréchet distance over its floor, on a logarithmic scale."""
    from matplotlib.figure import Figure

    names = [name for name in result if name != "nothing"]
    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.add_subplot()
    values = [result[name]["times_floor"] for name in names]
    axes.barh(names, values, color="#4477aa")
    axes.set_xscale("log")
    axes.axvline(1.0, color="black", linewidth=1)
    axes.invert_yaxis()
    axes.set_xlabel(f"{fd} over its floor")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of photos (default: 527 toy cats)")
    parser.add_argument("--other", type=Path, help="folder of images of another class")
    parser.add_argument("--extractor", default="imagenet")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--splits", type=int, default=4)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    size = arguments.image_size
    toys = DataConfig(source="toy_cats", toy_count=527, image_size=size)
    photos = toys if arguments.data is None else DataConfig(root=arguments.data, image_size=size)
    images = load_bank(photos).images
    if arguments.other is not None:
        other = load_bank(DataConfig(root=arguments.other, image_size=size)).images
    elif arguments.data is not None:
        other = load_bank(toys).images
    else:
        other = None
    extractor = load_extractor(arguments.extractor, "cpu", image_size=size)
    result = measure(images, other, extractor, arguments.splits)
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        print(f"{len(images) // 2} against {len(images) // 2} images, {arguments.splits} splits\n")
        print(as_markdown(result, extractor.frechet_name, extractor.kernel_name))
    if arguments.plot:
        draw(result, extractor.frechet_name, arguments.plot)


if __name__ == "__main__":
    main()
