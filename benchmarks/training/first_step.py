"""How long a run takes to its first step with a warm cache, and its peak memory.

    python -m benchmarks.training.first_step --data PHOTOS

A fresh process imports what training needs, reads the photos from the cache, builds the networks
and does one step. The time counts from the end of `import torch`. An evaluation and more steps
follow, for the peak memory of a reference trial. Without --data the photos are toy cats.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.lib.photos import photo_folder

REPEATS = 3
CHILD = """
import json, resource, sys, time
import torch
start = time.perf_counter()
from dcgan.config.settings import load_train_config
from dcgan.data.bank import load_bank
from dcgan.runtime.numerics import numerics
from dcgan.training.cuda_graphs import Stepper
from dcgan.training.loop import train
from dcgan.training.recorder import balance_of
from dcgan.training.run.history import STEP_FIELDS
from dcgan.training.schedule import Schedule
from dcgan.training.step import TrainState
config = load_train_config("reference", {
    "data.root": sys.argv[1], "train.device": "cpu", "eval.extractor": "layout",
})
device = torch.device("cpu")
bank = load_bank(config.data)
with numerics(config.train):
    schedule = Schedule(config, len(bank.images), device)
    stepper = Stepper(TrainState.fresh(config, device), bank.images, config)
    float(stepper.step(schedule.batch(0))[0])
    seconds = time.perf_counter() - start
    from dcgan.models.ema import with_fresh_batchnorm
    from dcgan.evaluation.evaluator import Evaluator, configured_extractor
    evaluator = Evaluator(bank, configured_extractor(config, device), config.eval)
    state, losses = stepper.state, torch.full((8, len(STEP_FIELDS)), 0.7)
    average = with_fresh_batchnorm(state.ema)
    ratio = balance_of(losses)
    evaluator.evaluate(average, state.generator, ratio, step=1, epoch=1, other="nothing")
    for step in range(1, 8):
        stepper.step(schedule.batch(step))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
heavy = ("torchvision", "torchmetrics", "torch._dynamo")
unwanted = [name for name in heavy if name in sys.modules]
result = {"seconds": seconds, "peak": peak, "unwanted": unwanted}
print(json.dumps(result))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of photos (default: toy cats)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with photo_folder(arguments.data) as root:
        measure(root)  # fills the cache
        runs = [measure(root) for _ in range(REPEATS)]
    result = {
        "seconds_to_the_first_step": round(min(run["seconds"] for run in runs), 2),
        "peak_mib_with_an_evaluation": round(max(run["peak"] for run in runs)),
        "torchvision_torchmetrics_or_the_compiler_imported": runs[0]["unwanted"],
    }
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    for key, value in result.items():
        print(f"{key:52} {value}")


def measure(root: str) -> dict[str, float]:
    """One fresh process."""
    command = [sys.executable, "-c", CHILD, root]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
