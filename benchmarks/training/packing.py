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
import multiprocessing
import resource
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.lib.machine import describe, synchronise
from benchmarks.lib.our_loop import our_loop
from benchmarks.lib.photos import photo_folder
from dcgan.config.settings import load_train_config
from dcgan.config.train_config import TrainConfig
from dcgan.runtime.devices import processors
from dcgan.runtime.numerics import numerics


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


def measure(config: TrainConfig, count: int, seconds: float) -> dict[str, Any]:
    """Train in `count` processes at once."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(count)
    with context.Pool(count, initializer=_keep, initargs=(ready,)) as pool:
        jobs = [pool.apply_async(_train, (config, seconds)) for _ in range(count)]
        results = [job.get() for job in jobs]
    return {
        "threads_each": config.train.threads,
        "images_per_second": round(sum(rate for rate, _ in results), 1),
        "mib_each": max(mib for _, mib in results),
    }


def _keep(ready: Any) -> None:
    global _ready
    _ready = ready


def _train(config: TrainConfig, seconds: float) -> tuple[float, float]:
    device = torch.device(config.train.device)
    with numerics(config.train):
        loop = our_loop(config, device)
        try:
            for _ in range(4 if device.type == "cpu" else 120):  # recording included
                next(loop)
            synchronise(device)
        except BaseException:
            _ready.abort()  # the others must not wait for this process
            raise
        _ready.wait()
        start, images = time.perf_counter(), 0
        while time.perf_counter() < start + seconds:
            images += next(loop)
        synchronise(device)
        rate = images / (time.perf_counter() - start)
    if device.type == "cuda":
        return rate, torch.cuda.max_memory_reserved(device) / 2**20
    return rate, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
