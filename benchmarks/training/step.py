"""Training images per second: a plain, written-out DCGAN loop against this project's, side by side.

    python -m benchmarks.training.step --data PHOTOS --threads 2
    python -m benchmarks.training.step --data PHOTOS --threads 2 --beside 2 --cases all

Each loop trains in its own process, so that neither benefits from the other's process settings (for
example how memory is kept). The loops take turns, and the medians over the turns count. The plain
loop is float32, ours runs in each precision. The last lines compare our rate with a limit: all
matrix work of a step at the rate of a plain matrix product of the same type, measured between the
turns. Each case of `--cases all` changes one thing of the reference recipe. Without --data the
photos are toy cats, written to a temporary folder as JPEGs.
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
from dcgan.config.settings import load_train_config, override
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

IN_MEMORY = "plain, in memory"
PLAIN = ("plain", IN_MEMORY)
KINDS = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
"""Precision → type of the plain product that gives the limit."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of photos (default: toy cats)")
    parser.add_argument("--cases", default="reference", choices=["all", *CASES])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--workers", type=int, default=2, help="of the plain loop's DataLoader")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=list(KINDS))
    parser.add_argument("--beside", type=int, default=0, help="also so many processes at once")
    parser.add_argument("--turns", type=int, default=3, help="of each loop")
    parser.add_argument("--seconds", type=float, default=2.0, help="a turn")
    parser.add_argument("--in-memory", action="store_true", help="a plain loop with photos decoded")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    names = list(CASES) if arguments.cases == "all" else [arguments.cases]
    device = torch.device(arguments.device)
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
                rows[name] = measure(config, arguments)
                machine = describe(device)
    if arguments.json:
        print(json.dumps({"cases": rows, **machine}, indent=2))
        return
    print("  ".join(f"{key} {value}" for key, value in machine.items()))
    for name, row in rows.items():
        print(f"\n{name}")
        for key, value in row.items():
            print(f"  {key:46} {value}")


def loops_of(config: TrainConfig, arguments: argparse.Namespace) -> dict[str, Loop]:
    """The plain loops, then ours in each precision, and in several processes at once."""
    loops = {kind: Loop(kind, config, arguments.workers) for kind in PLAIN}
    if not arguments.in_memory:
        del loops[IN_MEMORY]
    for precision in arguments.precisions:
        ours = override(config, {"train.precision": precision}, "--precisions")
        loops[f"ours, {precision}"] = Loop("ours", ours)
        if arguments.beside:
            one = override(ours, {"train.threads": 1}, "--beside")
            name = f"ours, {precision}, {arguments.beside} processes of 1 thread"
            loops[name] = Loop("ours", one, copies=arguments.beside)
    return loops


def measure(config: TrainConfig, arguments: argparse.Namespace) -> dict[str, Any]:
    """Images per second of every loop, the ratios, and our share of the limit."""
    device = torch.device(arguments.device)
    kinds = {name: KINDS[name] for name in arguments.precisions}
    products: dict[str, list[float]] = {name: [] for name in kinds}

    def measure_products() -> None:
        for name, kind in kinds.items():
            products[name].append(matrix_rate(device, kind))

    work, loops = gflop_per_image(config), loops_of(config, arguments)
    measured = take_turns(loops, arguments.turns, arguments.seconds, between=measure_products)
    row: dict[str, Any] = {name: f"{it.rate:.1f} images/s" for name, it in measured.items()}
    for name, it in measured.items():
        if name in PLAIN:
            continue
        for plain in (plain for plain in PLAIN if plain in measured):
            pairs = zip(it.rates, measured[plain].rates, strict=True)
            turns = ", ".join(f"{ours / theirs:.2f}" for ours, theirs in pairs)
            row[f"{name} / {plain}"] = f"{it.rate / measured[plain].rate:.2f} (turns: {turns})"
    row["work"] = f"{work:.3f} gflop an image"
    for name, rates in products.items():
        limit = statistics.median(rates) / work
        share = measured[f"ours, {name}"].rate / limit
        row[f"limit, {name}"] = f"{limit:.1f} images/s, of which ours reaches {share:.2f}"
    return row


if __name__ == "__main__":
    main()
