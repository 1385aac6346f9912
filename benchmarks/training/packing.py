"""How many trainings side by side get the most images per second out of one machine or GPU?

    python -m benchmarks.training.packing --data PHOTOS --processes 1 2
    python -m benchmarks.training.packing --data PHOTOS --device cuda --processes 1 2 4 8

Each process trains the reference recipe. All train at the same time, and their images per second
are added up. On a CPU the threads are divided among the processes. Memory is that of one process:
on a GPU what torch holds, on a CPU resident. Without --data the photos are toy cats.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from benchmarks.lib.machine import describe
from benchmarks.lib.photos import photo_folder
from benchmarks.lib.side_by_side import measure
from dcgan.config.settings import load_train_config
from dcgan.runtime.devices import processors


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of photos (default: toy cats)")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seconds", type=float, default=10.0, help="of training for each number")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = {}
    with photo_folder(arguments.data) as root:
        for count in arguments.processes:
            threads = max(1, processors() // count)
            changes = {"data.root": root, "train.device": arguments.device}
            config = load_train_config("reference", changes | {"train.threads": threads})
            rows[count] = measure(config, count, arguments.seconds)
    result = {"processes": rows, **describe(torch.device(arguments.device))}
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    first = next(iter(rows.values()))["images_per_second"]
    print("processes  threads each  images/s of all  × the first  MiB each")
    for count, row in rows.items():
        rate = row["images_per_second"]
        print(
            f"{count:9}  {row['threads_each']:12}  {rate:15.1f}  {rate / first:11.2f}  "
            f"{row['mib_each']:8.0f}"
        )


if __name__ == "__main__":
    main()
