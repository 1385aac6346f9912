"""Training images per second: a plain, written-out DCGAN loop against this project's, side by side.

    python -m benchmarks.training.step --data PHOTOS --threads 2
    python -m benchmarks.training.step --data PHOTOS --device cuda --workers 8 --cases all

Each loop trains in its own process, so that neither benefits from the other's process settings (for
example how memory is kept). The loops take turns, and the medians over the turns count. The last
columns compare our rate with a limit: all matrix work of a step at the rate of a plain matrix
product, measured between the turns. Each row of `--cases all` changes one thing of the reference
recipe. Without --data the photos are toy cats, written to a temporary folder as JPEGs.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch

from benchmarks.lib.machine import describe, matrix_rate
from benchmarks.lib.our_loop import gflop_per_image
from benchmarks.lib.photos import photo_folder
from benchmarks.lib.turns import Loop, take_turns
from dcgan.config.settings import load_train_config
from dcgan.config.train_config import TrainConfig
from dcgan.runtime.numerics import numerics

CASES: dict[str, dict[str, Any]] = {
    "reference": {},
    "32 pixels": {"data.image_size": 32},
    "128 pixels": {"data.image_size": 128, "model.ngf": 32, "model.ndf": 16},
    "small networks": {"model.ngf": 16, "model.ndf": 16},
    "large networks": {"model.ngf": 96, "model.ndf": 96},
    "batch 16": {"train.batch_size": 16},
    "batch 128": {"train.batch_size": 128},
    "batch 256": {"train.batch_size": 256},
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of photos (default: toy cats)")
    parser.add_argument("--cases", default="reference", choices=["all", *CASES])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--workers", type=int, default=2, help="of the plain loop's DataLoader")
    parser.add_argument("--turns", type=int, default=3, help="of each loop")
    parser.add_argument("--seconds", type=float, default=2.0, help="a turn")
    parser.add_argument("--in-memory", action="store_true", help="a plain loop with photos decoded")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    names = list(CASES) if arguments.cases == "all" else [arguments.cases]
    device = torch.device(arguments.device)
    kinds = ["plain", "ours"] + ["plain, in memory"] * arguments.in_memory
    rows = {}
    with photo_folder(arguments.data) as root:
        common = {
            "data.root": root,
            "train.device": arguments.device,
            "train.threads": arguments.threads,
        }
        for name in names:
            config = load_train_config("reference", common | CASES[name])
            with numerics(config.train):
                rows[name] = measure(config, device, kinds, arguments)
                machine = describe(device)
    if arguments.json:
        print(json.dumps({"cases": rows, **machine}, indent=2))
        return
    print("  ".join(f"{key} {value}" for key, value in machine.items()))
    for name, row in rows.items():
        print(f"\n{name}")
        for key, value in row.items():
            print(f"  {key:36} {value}")


def measure(
    config: TrainConfig, device: torch.device, kinds: list[str], arguments: argparse.Namespace
) -> dict[str, Any]:
    """Images per second of every loop, the ratios, and our share of the limit."""
    work, products = gflop_per_image(config), list[float]()
    loops = {kind: Loop(kind, config, arguments.workers) for kind in kinds}
    measured = take_turns(
        loops,
        arguments.turns,
        arguments.seconds,
        between=lambda: products.append(matrix_rate(device)),
    )
    rates = {kind: loop.rate for kind, loop in measured.items()}
    limit = statistics.median(products) / work
    return {
        **{f"{kind}, images/s": round(rate, 1) for kind, rate in rates.items()},
        **{
            f"ours / {kind}": round(rates["ours"] / rates[kind], 2)
            for kind in kinds
            if kind != "ours"
        },
        "ratio of each turn": [
            round(ours / plain, 2)
            for ours, plain in zip(measured["ours"].rates, measured["plain"].rates, strict=True)
        ],
        "gflop an image": round(work, 3),
        "matrix products, gflop/s": [round(rate) for rate in products],
        "limit, images/s": round(limit, 1),
        "ours, share of the limit": round(rates["ours"] / limit, 2),
    }


if __name__ == "__main__":
    main()
