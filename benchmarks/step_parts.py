"""Where the time of a training step goes, by torch's profiler.

    python benchmarks/step_parts.py [--data PHOTOS] [--threads N] [--steps 20] [--json]

Times are those of the operations themselves on the CPU, summed over the steps; what is left to the
Python between them is the difference to the step's own duration, measured without the profiler.
Without --data the photos are toy cats, written to a temporary folder as JPEGs.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from machine import describe, matrix_rate
from torch.profiler import ProfilerActivity, profile
from train_step import gflop_per_image, our_loop, write_toy_cats

from dcgan.config import TrainConfig
from dcgan.config_io import load_train_config
from dcgan.devices import numerics

PARTS = {
    "convolutions and products": r"conv|::mm$|addmm",
    "BatchNorm": r"batch_norm",
    "activations and their gradients": r"relu|threshold|tanh|clamp_min|sigmoid",
    "optimizers and moving average": r"adam|lerp_",
    "copies and sums": r"copy_|::add_$|fill_|index|::cat$|pad",
}
"""Part → names of operations, the first that fits counts."""
CPU = torch.device("cpu")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of photos (default: toy cats)")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.data or write_toy_cats(Path(temporary) / "toy" / "cat")
        settings = {
            "data.root": str(root.resolve()),
            "train.device": "cpu",
            "train.threads": arguments.threads,
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
    """Milliseconds a step, in all, of each part, and what the limit for the first of them is."""
    loop = our_loop(config, CPU)
    for _ in range(steps):  # warms up
        next(loop)
    start = time.perf_counter()
    photos = sum(next(loop) for _ in range(steps))
    whole = (time.perf_counter() - start) * 1e3 / steps
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(steps):
            next(loop)
    parts = dict.fromkeys([*PARTS, "other operations"], 0.0)
    for event in profiler.key_averages():
        name = next((part for part, words in PARTS.items() if re.search(words, event.key)), None)
        parts[name or "other operations"] += event.self_cpu_time_total / 1e3 / steps
    limit = gflop_per_image(config) * photos / steps / matrix_rate(CPU) * 1e3
    return {
        "a step, ms": round(whole, 1),
        **{f"{part}, ms": round(value, 1) for part, value in parts.items()},
        "limit of convolutions and products, ms": round(limit, 1),
    }


if __name__ == "__main__":
    main()
