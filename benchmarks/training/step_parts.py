"""Where the time of a training step goes: milliseconds per kind of operation on a CPU.

    python -m benchmarks.training.step_parts --data PHOTOS --threads 2

Each tensor operation is timed when it is called. Timed steps, untimed steps and a plain matrix
product take turns; the mean rate of the product gives the limit. The time of Python and autograd is
the difference between an untimed step and the sum of the operations. Torch's profiler is not used:
its own records fragment the memory that a step frees and takes again, so that large arrays fault in
new pages, up to 15 ms for each 8 MiB. Without --data the photos are toy cats.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.lib.machine import describe
from benchmarks.lib.our_loop import gflop_per_image, our_loop
from benchmarks.lib.photos import photo_folder
from dcgan.config.settings import load_train_config
from dcgan.config.train_config import TrainConfig
from dcgan.runtime.numerics import numerics

PARTS = {
    "convolutions and products": r"conv|\bmm\b|addmm",
    "BatchNorm": r"batch_norm",
    "activations and their gradients": r"relu|threshold|tanh|clamp_min|sigmoid",
    "optimizers and moving average": r"adam|lerp_",
    "casts": r"_to_copy",
    "copies and sums": r"copy_|clone|\badd_|fill_|zeros|index|\bcat\b|pad",
}
"""Part → names of operations; the first match counts."""
SIDE = 2048
"""Rows and columns of the plain product's matrices."""
KINDS = {"fp32": torch.float32, "bf16": torch.bfloat16}
CPU = torch.device("cpu")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of photos (default: toy cats)")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--precision", default="fp32", choices=list(KINDS))
    parser.add_argument("--steps", type=int, default=34)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with photo_folder(arguments.data) as root:
        settings = {
            "data.root": root,
            "train.device": "cpu",
            "train.threads": arguments.threads,
            "train.precision": arguments.precision,
        }
        config = load_train_config("reference", settings)
        with numerics(config.train):
            result = measure(config, arguments.steps) | describe(CPU)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    for key, value in result.items():
        print(f"{key:42} {value}")


def measure(config: TrainConfig, steps: int) -> dict[str, Any]:
    """Milliseconds per step: in all, of each part, and the limit of the first part."""
    loop = our_loop(config, CPU)
    for _ in range(steps):  # warms up
        next(loop)
    left, right = torch.randn(2, SIDE, SIDE).to(KINDS[config.train.precision])
    timed, whole, product, photos = Timed(), 0.0, 0.0, 0
    for _ in range(steps):  # in turns, so that a slow moment of the machine affects all
        start = time.perf_counter()
        next(loop)
        between = time.perf_counter()
        left @ right
        whole += (between - start) * 1e3 / steps
        product += (time.perf_counter() - between) * 1e3 / steps
        with timed:
            photos += next(loop)
    parts = dict.fromkeys([*PARTS, "other operations"], 0.0)
    for operation, seconds in timed.seconds.items():
        name = next((part for part, words in PARTS.items() if re.search(words, operation)), None)
        parts[name or "other operations"] += seconds * 1e3 / steps
    limit = gflop_per_image(config) * photos / steps / (2 * SIDE**3 / 1e9) * product
    return {
        "a step, ms": round(whole, 1),
        **{f"{part}, ms": round(value, 1) for part, value in parts.items()},
        "limit of convolutions and products, ms": round(limit, 1),
    }


class Timed(TorchDispatchMode):
    """Adds up the seconds of each operation while this mode is active."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = defaultdict(float)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        start = time.perf_counter()
        result = func(*args, **(kwargs or {}))
        self.seconds[str(func)] += time.perf_counter() - start
        return result


if __name__ == "__main__":
    main()
