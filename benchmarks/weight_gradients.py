"""Gradients of a strided convolution's weights: the library's against a product of its windows.

    python benchmarks/weight_gradients.py [--threads N] [--repeats 15] [--json]
    python benchmarks/weight_gradients.py --whole-steps 96 [--data PHOTOS] [--threads N]

Batches of 32 pairs of images, `channels` × side × side and `channels / 2` × 2·side × 2·side, as the
two networks have them. Both ways and a plain matrix product alternate; medians count. From
`dcgan.models.convolutions.MANY_CHANNELS` channels on, networks are trained by product.
--whole-steps alternates training steps of the reference recipe with so large ngf and ndf instead.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import describe
from torch import Tensor
from train_step import our_loop, write_toy_cats

from dcgan.config.settings import load_train_config
from dcgan.models import convolutions
from dcgan.models.convolutions import _weight_gradient
from dcgan.runtime.memory import keep_freed_memory
from dcgan.runtime.numerics import numerics

BATCH, KERNEL = 32, 4
CASES = [(channels, side) for side in (4, 8, 16) for channels in (64, 128, 192, 256, 384, 768)]
LARGEST = 768 * 8 * 8
"""Cases of more numbers an image are left out: no network of the search space has them."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--whole-steps", type=int, metavar="NGF", help="of networks so large")
    parser.add_argument("--data", type=Path, help="folder of photos for them (default: toy cats)")
    arguments = parser.parse_args()
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    if arguments.whole_steps is not None:
        print(json.dumps(whole_steps(arguments), indent=2))
        return
    keep_freed_memory()
    cases = [case for case in CASES if case[0] * case[1] ** 2 <= LARGEST]
    results = [measure(*case, arguments.repeats) for case in cases]
    machine = describe(torch.device("cpu"))
    if arguments.json:
        print(json.dumps({"machine": machine, "results": results}, indent=2))
        return
    print("  ".join(f"{key} {value}" for key, value in machine.items()))
    print("channels  side  library, ms  by product, ms  ratio  limit, ms")
    for row in results:
        print(
            f"{row['channels']:8}  {row['side']:4}  {row['library, ms']:11.2f}  "
            f"{row['by product, ms']:14.2f}  {row['ratio']:5.2f}  {row['limit, ms']:9.2f}"
        )


def measure(channels: int, side: int, repeats: int) -> dict[str, Any]:
    """Medians of both ways and of what their products would take at a plain product's rate."""
    small, large = images(channels, side), images(channels // 2, 2 * side)
    weight = torch.empty(channels, channels // 2, KERNEL, KERNEL).contiguous(
        memory_format=torch.channels_last
    )
    left, right = torch.randn(2, 1024, 1024)
    ways: dict[str, Callable[[], Tensor]] = {
        "library": lambda: by_library(large, small, weight),
        "by product": lambda: _weight_gradient(small, large),
        "plain product": lambda: left @ right,
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for repeat in range(repeats + 2):
        for way, run in ways.items():
            start = time.perf_counter()
            run()
            if repeat >= 2:  # the first ones warm up
                times[way].append((time.perf_counter() - start) * 1e3)
    library, product, plain = (statistics.median(each) for each in times.values())
    share = BATCH * side**2 * channels * (channels // 2) * KERNEL**2 / 1024**3
    return {
        "channels": channels,
        "side": side,
        "library, ms": library,
        "by product, ms": product,
        "ratio": library / product,
        "limit, ms": plain * share,
    }


def whole_steps(arguments: argparse.Namespace) -> dict[str, Any]:
    """Medians of whole training steps, product and library in turns."""
    cpu, size = torch.device("cpu"), arguments.whole_steps
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.data or write_toy_cats(Path(temporary) / "toy" / "cat")
        settings = {"data.root": str(root.resolve()), "train.device": "cpu"}
        settings |= {"model.ngf": size, "model.ndf": size, "train.threads": arguments.threads}
        config = load_train_config("reference", settings)
        with numerics(config.train):
            loop = our_loop(config, cpu)
            ways = {"by product, ms": convolutions.MANY_CHANNELS, "library, ms": sys.maxsize}
            times: dict[str, list[float]] = {way: [] for way in ways}
            for repeat in range(arguments.repeats + 2):
                for way, convolutions.MANY_CHANNELS in ways.items():
                    start = time.perf_counter()
                    photos = next(loop)
                    if repeat >= 2 and photos == config.train.batch_size:  # no last, partial batch
                        times[way].append((time.perf_counter() - start) * 1e3)
    product, library = (statistics.median(each) for each in times.values())
    return {**dict(zip(ways, (product, library), strict=True)), "ratio": library / product}


def by_library(large: Tensor, small: Tensor, weight: Tensor) -> Tensor:
    """What autograd calls, for the weights alone."""
    backward = torch.ops.aten.convolution_backward
    pair, zero = [2, 2], [0, 0]
    gradients = backward(
        small, large, weight, None, pair, [1, 1], [1, 1], False, zero, 1, [False, True, False]
    )
    result: Tensor = gradients[1]
    return result


def images(channels: int, side: int) -> Tensor:
    """A random batch, channels-last in memory as the networks keep them."""
    batch = torch.randn(BATCH, channels, side, side)
    return batch.contiguous(memory_format=torch.channels_last)


if __name__ == "__main__":
    main()
