"""What one evaluation inside a trial costs, and how memory grows with the number of images.

    python -m benchmarks.evaluation.cost --data PHOTOS

An evaluation scores the moving average of the reference recipe (its BatchNorm statistics are
measured first) from `n_samples` images; the last one of a trial also takes the distances of the
last weights. Its parts are timed one by one and as a whole, in turns with training steps, so that
the share of a trial comes from one run. Without --data the photos are 527 toy cats.

For the streaming path (moments of many images, for example 50,000 with Inception's 2048 features)
fresh processes add batches of random features to `StreamingMoments`. The figure is the peak memory
of each process beyond that of the smallest.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.lib.machine import describe, matrix_rate
from dcgan.config.train_config import DataConfig, TrainConfig
from dcgan.data.bank import load_bank
from dcgan.evaluation.evaluator import Evaluator
from dcgan.evaluation.extractors.base import extract
from dcgan.evaluation.extractors.registry import load_extractor
from dcgan.evaluation.metrics.frechet import StreamingMoments
from dcgan.evaluation.set_score import score_set
from dcgan.models.ema import with_fresh_batchnorm
from dcgan.models.sampling import generate_images
from dcgan.runtime.numerics import numerics
from dcgan.training.recorder import balance_of
from dcgan.training.run.history import STEP_FIELDS
from dcgan.training.schedule import Schedule
from dcgan.training.step import TrainState, training_step

STREAMED = (5_000, 20_000, 50_000)
DIMENSION, BATCH = 2048, 500


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of photos (default: toy cats)")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--extractor", default="joint")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=17, help="training steps between evaluations")
    parser.add_argument("--epochs", type=int, default=54, help="of a trial")
    parser.add_argument("--every-epochs", type=int, default=9, help="between evaluations")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    photos = {"root": arguments.data} if arguments.data else {"source": "toy_cats"}
    config = TrainConfig.model_validate(
        {
            "data": DataConfig(**photos).model_dump(),
            "train": {
                "device": "cpu",
                "threads": arguments.threads,
                "epochs": arguments.epochs,
                "precision": arguments.precision,
            },
            "eval": {"extractor": arguments.extractor, "every_epochs": arguments.every_epochs},
        }
    )
    with numerics(config.train):
        result = measure(config, arguments.repeats, arguments.steps)
        result |= {"peak_mib_beyond_smallest": streaming_memory()}
        device = torch.device("cpu")
        result |= {"matrix products, gflop/s": round(matrix_rate(device)), **describe(device)}
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    for key, value in result.items():
        print(f"{key:34} {value}")


def measure(config: TrainConfig, repeats: int, steps: int) -> dict[str, Any]:
    """Median seconds of each part and of the whole, and the whole's share of a reference trial."""
    device = torch.device("cpu")
    bank = load_bank(config.data)
    schedule, state = Schedule(config, len(bank.images), device), TrainState.fresh(config, device)
    extractor = load_extractor(config.eval.extractor, device)
    names = extractor.frechet_name, extractor.kernel_name
    evaluator = Evaluator(bank, extractor, config.eval)
    losses = torch.full((64, len(STEP_FIELDS)), 0.7)
    times: dict[str, list[float]] = {}

    def timed(name: str, run: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        value = run()
        times.setdefault(name, []).append(time.perf_counter() - start)
        return value

    def train() -> None:
        for _ in range(steps):
            training_step(state, bank.images[schedule.batch(state.step)], config)

    def whole(other: Literal["nothing", "distances"] = "nothing") -> None:
        average = with_fresh_batchnorm(state.ema)
        evaluator.evaluate(
            average,
            state.generator,
            balance_of(losses),
            step=state.step,
            epoch=1,
            other=other,
        )

    train()  # allocations
    whole()
    for _ in range(repeats):
        timed("training", train)
        timed("whole", whole)
        timed("last", lambda: whole("distances"))
        fresh = timed("BatchNorm", lambda: with_fresh_batchnorm(state.ema))
        count = config.eval.n_samples
        images = timed("generating", lambda m=fresh, n=count: list(generate_images(m, n)))
        features = timed(
            "features", lambda x=images: torch.cat([extract(extractor, part) for part in x])
        )
        timed("distances", lambda f=features: score_set(evaluator.real, f, *names))
    seconds = {name: statistics.median(values) for name, values in times.items()}
    scores = config.train.epochs // config.eval.every_epochs
    trained = seconds["training"] / steps * schedule.total_steps
    scored = (scores - 1) * seconds["whole"] + seconds["last"]
    return {
        "evaluation_seconds": round(seconds["whole"], 2),
        "last_evaluation_seconds": round(seconds["last"], 2),
        "measuring BatchNorm": round(seconds["BatchNorm"], 2),
        "for each generator": {
            name: round(seconds[name], 2) for name in ("generating", "features", "distances")
        },
        "n_samples": config.eval.n_samples,
        "training_seconds_of_a_trial": round(trained),
        "one_evaluation_percent_of_training": round(100 * seconds["whole"] / trained, 2),
        f"all_{scores}_evaluations_percent": round(100 * scored / trained, 1),
    }


def streaming_memory() -> dict[str, int]:
    """Peak MiB of a process that streams n images, beyond the peak of the smallest n."""
    context = multiprocessing.get_context("spawn")
    peaks = {}
    for count in STREAMED:
        with context.Pool(1) as pool:
            peaks[count] = pool.apply(_stream, (count,))
    return {f"{count:,} images": peaks[count] - peaks[STREAMED[0]] for count in STREAMED}


def _stream(count: int) -> int:
    moments, rng = StreamingMoments(DIMENSION), torch.Generator().manual_seed(0)
    for _ in range(count // BATCH):
        moments.add(torch.randn(BATCH, DIMENSION, generator=rng))
    assert moments.count == count
    moments.gaussian()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
