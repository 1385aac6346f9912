"""What augmentation costs: this project's, on a whole batch, against torchvision's, per image.

    python -m benchmarks.training.augmentation --threads 2

Both do the same work with the same ranges; torchvision draws its parameters on the host, as in a
data loader. Repetitions alternate, so that other load slows both. The median counts; the fastest
repetition is what an idle machine would give. The process keeps freed memory, as in training.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import (
    ColorJitter,
    Compose,
    GaussianBlur,
    InterpolationMode,
    RandomHorizontalFlip,
    RandomRotation,
)

from benchmarks.lib.machine import describe
from dcgan.config.train_config import AugmentConfig
from dcgan.data.augment import augment
from dcgan.runtime.memory import keep_freed_memory

CASES = {
    "reference": AugmentConfig(),
    "reference + hue": AugmentConfig(hue=0.1),
    "everything": AugmentConfig(hue=0.1, rotation_degrees=10, flip=0.5),
}


def torchvision_transform(config: AugmentConfig) -> Compose:
    """The same steps as `augment`, for one image."""
    steps: list[Callable[[Tensor], Tensor]] = []
    if config.rotation_degrees > 0:
        steps.append(RandomRotation(config.rotation_degrees, InterpolationMode.BILINEAR))
    if config.flip > 0:
        steps.append(RandomHorizontalFlip(config.flip))
    steps.append(
        ColorJitter(brightness=config.brightness, saturation=config.saturation, hue=config.hue)
    )
    steps.append(GaussianBlur(list(config.blur_kernel), list(config.blur_sigma)))
    return Compose(steps)


def measure(
    config: AugmentConfig, images: Tensor, repeats: int, seconds: float
) -> dict[str, float]:
    """Milliseconds per batch, both sides, alternating; stops at either limit."""
    generator = torch.Generator().manual_seed(0)
    one = torchvision_transform(config)
    sides: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: augment(images, config, generator),
        "torchvision": lambda: torch.stack([one(image) for image in images]),
    }
    times: dict[str, list[float]] = {side: [] for side in sides}
    begin = time.perf_counter()
    for repeat in range(repeats + 2):
        if repeat > 4 and time.perf_counter() - begin > seconds:
            break
        for side, run in sides.items():
            start = time.perf_counter()
            run()
            if repeat >= 2:  # the first ones warm up
                times[side].append((time.perf_counter() - start) * 1e3)
    ours, theirs = (statistics.median(times[side]) for side in ("ours", "torchvision"))
    return {
        "repeats": len(times["ours"]),
        "ours_ms": ours,
        "torchvision_ms": theirs,
        "ratio": theirs / ours,
        "ours_fastest_ms": min(times["ours"]),
        "torchvision_fastest_ms": min(times["torchvision"]),
        "ratio_fastest": min(times["torchvision"]) / min(times["ours"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.add_argument("--repeats", type=int, default=60, help="batches per case and side (60)")
    parser.add_argument("--seconds", type=float, default=12, help="time limit per case (12)")
    parser.add_argument("--batch", type=int, default=32, help="images per batch (32)")
    parser.add_argument("--side", type=int, default=64, help="side of the images in pixels (64)")
    parser.add_argument("--threads", type=int, help="CPU threads (what torch chooses)")
    options = parser.parse_args()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    keep_freed_memory()
    images = torch.rand(options.batch, 3, options.side, options.side)
    results = {
        name: measure(config, images, options.repeats, options.seconds)
        for name, config in CASES.items()
    }
    machine = describe(torch.device("cpu"))
    work = {"batch": options.batch, "side": options.side}
    if options.json:
        print(json.dumps({"machine": machine, "work": work, "results": results}, indent=2))
        return
    print(", ".join(f"{key} {value}" for key, value in (machine | work).items()))
    print("ms per batch: median (fastest)")
    print(f"{'':18}{'ours':>17}{'torchvision':>17}{'ratio':>15}{'repeats':>10}")
    for name, r in results.items():
        ours = f"{r['ours_ms']:.1f} ({r['ours_fastest_ms']:.1f})"
        theirs = f"{r['torchvision_ms']:.1f} ({r['torchvision_fastest_ms']:.1f})"
        ratio = f"{r['ratio']:.1f} ({r['ratio_fastest']:.1f})"
        print(f"{name:18}{ours:>17}{theirs:>17}{ratio:>15}{r['repeats']:>10}")


if __name__ == "__main__":
    main()
