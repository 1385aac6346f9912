"""How many trainings side by side get the most images per second out of one machine or GPU?

    python -m benchmarks.training.packing --processes 1 2
    python -m benchmarks.training.packing --device cuda --processes 1 2 4 8

Each process trains the reference recipe. All train at the same time, and their images per second
are added up. On a CPU the threads are divided among the processes. Memory is that of one process:
on a GPU what torch holds, on a CPU resident. The photos are grey; their content costs nothing.
"""

from __future__ import annotations

import argparse
import json

import torch

from benchmarks.lib.machine import describe
from dcgan.config.settings import load_train_config
from dcgan.runtime.devices import processors
from dcgan.training.packing import train_together


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seconds", type=float, default=10.0, help="of training for each number")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = {}
    for count in arguments.processes:
        threads = max(1, processors() // count)
        changes = {"train.device": arguments.device, "train.threads": threads}
        config = load_train_config("reference", changes)
        found = train_together(config, count, arguments.seconds)
        rows[count] = {
            "threads_each": threads,
            "images_per_second": round(found.images_per_second, 1),
            "mib_each": found.bytes_each / 2**20,
        }
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
