"""How long a worker process takes from its start to its first training step, and with what.

    python -m benchmarks.study.worker_start --data PHOTOS

A study of `cats` is prepared in a temporary results folder, with the reference recipe as its first
trial. Then workers are started as a launcher starts them, several times, and killed after their
first step. The cache of photos is warm. `--workers 2` starts two at a time. Without --data the
photos are toy cats.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import torch

from benchmarks.lib import machine
from benchmarks.lib.photos import photo_folder
from dcgan.data.bank import load_bank
from dcgan.runtime.children import child_environment
from study.config.study_config import load_study_config
from study.running.prepare import prepare
from study.running.worker import Job
from study.storage.store import Store

CHILD = """
import json, os, sys, time
from contextlib import contextmanager
marks = {}
import study.cli.worker as program
imports = program.quick_imports

def before(module, name, mark):
    function = getattr(module, name)
    def call(*arguments, **options):
        marks.setdefault(mark, time.time())
        return function(*arguments, **options)
    setattr(module, name, call)

@contextmanager
def marked():
    with imports():
        yield
    marks["imports"] = time.time()
    from dcgan.training import loop
    from study.running import trial, worker
    step = loop.Stepper.step
    def first(stepper, batch):
        marks["first grid of samples"] = time.time()
        losses = step(stepper, batch)
        losses.tolist()
        marks["first step"] = time.time()
        print("MARKS", json.dumps([marks, "mlflow" in sys.modules]), file=sys.stderr, flush=True)
        os._exit(0)
    loop.Stepper.step = first
    before(worker, "work", "databases, photos, extractor")
    before(trial, "train", "claim")
    before(loop._Run, "loop", "networks, first pictures")

program.quick_imports = marked
program.main()
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of photos (default: toy cats)")
    parser.add_argument("--workers", type=int, default=1, help="started at the same time")
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with photo_folder(arguments.data) as root, tempfile.TemporaryDirectory() as temporary:
        job = prepared(root, Path(temporary), arguments.threads)
        start(job, arguments.workers, arguments.threads)  # fills the disk's cache
        runs = []
        for _ in range(arguments.starts):
            runs += start(job, arguments.workers, arguments.threads)
    parts = {key: round(statistics.median(run[key] for run in runs), 2) for key in runs[0]}
    facts = machine.describe(torch.device("cpu"))
    if arguments.json:
        print(json.dumps({**facts, **parts}, indent=2))
        return
    print(", ".join(f"{key} {value}" for key, value in facts.items()))
    for key, value in parts.items():
        print(f"{key:40} {value}")


def prepared(root: str, folder: Path, threads: int) -> str:
    """The line that tells a worker its job, of a new study."""
    settings = {
        "data.root": root,
        "train.threads": threads,
        "train.device": "cpu",
        "eval.extractor": "layout",
    }
    config, store = load_study_config("cats", settings), Store.at(folder)
    store.create()
    with prepare(config, store, load_bank(config.base.data)) as plan:
        return Job.of(plan.context).line()


def start(job: str, workers: int, threads: int) -> list[dict[str, float]]:
    """Start workers at the same time; for each, the seconds of each part and in all."""
    environment = child_environment({**os.environ, "OMP_NUM_THREADS": str(threads)})
    begun, processes = [], []
    for _ in range(workers):
        begun.append(time.time())
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert process.stdin
        process.stdin.write(job)
        process.stdin.flush()  # and left open: its end would ask the worker to stop
        processes.append(process)
    return [times(one, process) for one, process in zip(begun, processes, strict=True)]


def times(begun: float, process: subprocess.Popen[str]) -> dict[str, float]:
    """The parts of one start, in seconds."""
    assert process.stderr
    said = process.stderr.read()
    process.wait()
    found = [line for line in said.splitlines() if line.startswith("MARKS ")]
    assert found, said
    marks, mlflow_imported = json.loads(found[0].removeprefix("MARKS "))
    assert not mlflow_imported, "a worker has imported mlflow before its first step"
    moments = [begun, *marks.values()]
    parts = {name: b - a for name, (a, b) in zip(marks, pairwise(moments), strict=True)}
    return {"seconds to the end of the first step": moments[-1] - begun, **parts}


if __name__ == "__main__":
    main()
