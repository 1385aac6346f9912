"""Does a score prefer pictures that a person calls worse? Scores checkpoints by each extractor.

    python -m benchmarks.evaluation.flattered RUN/checkpoint.pt … --data PHOTOS

A line for each checkpoint: the Fréchet distance of 1,024 images of its moving average, by
`imagenet`, by `layout`, by `joint`, and by EfficientNet-Lite2 at 160 pixels, which has no part in
any of them but was trained on the same photos as `imagenet`. The last lines score photos that were
harmed, and the first gives a perfect generator's scores and how much the photos vary in each space:
the quotient of the variances of `imagenet` and `layout` is what `joint` is built on. Without --data
the photos are toy cats. --sheet draws the images of every checkpoint, in the order of `joint`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.evaluation.metric_response import shuffle_patches
from dcgan.config.train_config import DataConfig
from dcgan.data.bank import load_bank
from dcgan.evaluation.extractors.base import Extractor, extract
from dcgan.evaluation.extractors.imagenet import load_imagenet
from dcgan.evaluation.extractors.registry import load_extractor
from dcgan.evaluation.metrics.floor import noise_floor
from dcgan.evaluation.metrics.frechet import distance_between, fit_gaussian
from dcgan.models.sampling import generate_images
from dcgan.runtime.pictures import image_grid, save_picture
from dcgan.training.run.checkpoint import load_checkpoint, load_generator

N_SAMPLES, SHOWN = 1024, 32
CPU = torch.device("cpu")


class Space:
    """The photos as one extractor sees them."""

    def __init__(self, extractor: Extractor, photos: Tensor) -> None:
        self.extractor = extractor
        features = extract(extractor, photos)
        self.photos = fit_gaussian(features)
        self.floor = noise_floor(features).at(len(photos), N_SAMPLES)
        self.variance = float(features.var(dim=0).sum())

    def distance(self, images: Tensor) -> float:
        """The Fréchet distance of images, uint8 (N, 3, S, S), to the photos."""
        return distance_between(self.photos, fit_gaussian(extract(self.extractor, images)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", type=Path, nargs="*")
    parser.add_argument("--data", type=Path, help="folder of photos (default: toy cats)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sheet", type=Path, help="where to draw the images")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data = {"root": arguments.data.resolve()} if arguments.data else {"source": "toy_cats"}
    photos = load_bank(DataConfig.model_validate(data)).images
    spaces = {name: load_extractor(name, CPU) for name in ("imagenet", "layout", "joint")}
    spaces["lite2"] = load_imagenet(CPU, variant="lite2", side=160, class_side=160)
    seen = {name: Space(extractor, photos) for name, extractor in spaces.items()}
    print(f"| images | {' | '.join(seen)} |\n|---|{'---|' * len(seen)}")
    print(line("the photos' variance", {name: space.variance for name, space in seen.items()}))
    print(line("a perfect generator", {name: space.floor for name, space in seen.items()}))
    drawn = list[tuple[float, Tensor]]()
    for name, images in [*generated(arguments.checkpoints), *harmed(photos)]:
        scores = {kind: space.distance(images) for kind, space in seen.items()}
        print(line(name, scores), flush=True)
        drawn.append((scores["joint"], images[:SHOWN]))
    if arguments.sheet:
        rows = [images for _, images in sorted(drawn, key=lambda item: item[0])]
        save_picture(image_grid(torch.cat(rows), columns=SHOWN), arguments.sheet)


def line(name: str, numbers: dict[str, float]) -> str:
    """A row of the Markdown table."""
    digits = (f"{number:.3f}" if number < 10 else f"{number:.0f}" for number in numbers.values())
    return f"| {name} | {' | '.join(digits)} |"


def generated(checkpoints: list[Path]) -> Iterator[tuple[str, Tensor]]:
    """Images of the moving averages, by the names of the runs."""
    for path in checkpoints:
        generator = load_generator(load_checkpoint(path), "ema", CPU)
        with torch.no_grad():
            yield path.parent.name, torch.cat(list(generate_images(generator, N_SAMPLES)))


def harmed(photos: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Images that everyone would call bad, about as many as are scored."""
    rng = torch.Generator().manual_seed(0)
    twice = photos.repeat(-(-N_SAMPLES // len(photos)), 1, 1, 1)[:N_SAMPLES]
    yield "photos of shuffled 4 × 4 patches", shuffle_patches(twice, 4, rng)
    yield (
        "grey levels",
        torch.randint(0, 256, (N_SAMPLES, 1, 1, 1), generator=rng).to(torch.uint8).expand_as(twice),
    )
    yield "noise", torch.randint(0, 256, twice.shape, generator=rng, dtype=torch.uint8)


if __name__ == "__main__":
    main()
