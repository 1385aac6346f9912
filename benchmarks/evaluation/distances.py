"""What the Fréchet and kernel distances cost, and how exact they are, beside other formulas.

    python -m benchmarks.evaluation.distances --threads 1

Every side gets the same float64 features in memory and returns the number; extractors are not
timed. Fréchet: this project's, torchmetrics' (`_compute_fid`: eigenvalues of S1 S2) and scipy's
`sqrtm(S1 S2)`, which torch-fidelity and pytorch-fid use. The times of the latter two include both
covariances. Sides alternate and the median counts. A side that has used its time limit is not
repeated, so that the slowest ones run once.

Errors are relative to tr S1 + tr S2. The reference for random sets is scipy's `gesvd` (another
algorithm than ours) of the whole cross product of centred features in float64. The reference for
scaled copies, fake = c · real, is the closed form.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy
import scipy.linalg
import torch
import torchmetrics
from torch import Tensor
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd

from benchmarks.lib.machine import describe
from dcgan.evaluation.metrics.frechet import frechet_distance
from dcgan.evaluation.metrics.interval import frechet_interval
from dcgan.evaluation.metrics.kernel import kernel_distance

SIZES = [  # real, fake, dimensions
    (527, 1024, 64),
    (527, 1024, 454),
    (527, 1024, 2048),
    (2048, 2048, 2048),
    (10_000, 527, 2048),
]
COPIES = [(527, 454, 0.9), (527, 2048, 0.9), (527, 2048, 1.001)]  # images, dimensions, c
SUBSETS, SUBSET_SIZE = 20, 500
Sides = dict[str, Callable[[], float]]


def features(count: int, dimension: int, seed: int, spread: float = 1.0) -> Tensor:
    """Rectified, correlated, with variances falling like 1/k: about what networks give."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.arange(1, dimension + 1, dtype=torch.float64).rsqrt()
    rows = torch.randn(count, dimension, generator=generator, dtype=torch.float64) * scale
    mix = torch.randn(dimension, dimension, generator=torch.Generator().manual_seed(0))
    return (rows @ mix.double() * spread + 0.1).relu()


def by_torchmetrics(real: Tensor, fake: Tensor) -> float:
    return float(_compute_fid(real.mean(0), real.T.cov(), fake.mean(0), fake.T.cov()))


def by_sqrtm(real: Tensor, fake: Tensor) -> float:
    covariances = [np.cov(rows.numpy(), rowvar=False) for rows in (real, fake)]
    with warnings.catch_warnings():  # "singular", where there are fewer images than dimensions
        warnings.simplefilter("ignore")
        root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
    means = (real.mean(0) - fake.mean(0)).square().sum()
    return float(means + np.trace(covariances[0] + covariances[1] - 2.0 * np.real(root)))


def by_gesvd(real: Tensor, fake: Tensor) -> float:
    parts = [((rows - rows.mean(0)) / (len(rows) - 1) ** 0.5).numpy() for rows in (real, fake)]
    cross = scipy.linalg.svd(
        parts[0] @ parts[1].T, compute_uv=False, lapack_driver="gesvd", overwrite_a=True
    )
    means = (real.mean(0) - fake.mean(0)).square().sum()
    return float(means + sum(np.square(part).sum() for part in parts) - 2.0 * cross.sum())


def total_variance(*sets: Tensor) -> float:
    return float(sum(rows.var(dim=0).sum() for rows in sets))


def timed(sides: Sides, repeats: int, seconds: float) -> dict[str, dict[str, float]]:
    """Median and fastest seconds of each side, and its value."""
    times: dict[str, list[float]] = {side: [] for side in sides}
    values: dict[str, float] = {}
    for _ in range(repeats):
        for side, run in sides.items():
            if sum(times[side]) < seconds:
                start = time.perf_counter()
                values[side] = run()
                times[side].append(time.perf_counter() - start)
    return {
        side: {
            "value": values[side],
            "median_s": statistics.median(times[side]),
            "fastest_s": min(times[side]),
            "repeats": len(times[side]),
        }
        for side in sides
    }


def measure_frechet(repeats: int, seconds: float) -> list[dict[str, Any]]:
    results = []
    for n_real, n_fake, dimension in SIZES:
        real, fake = features(n_real, dimension, 1), features(n_fake, dimension, 2, spread=1.1)
        sides: Sides = {
            "ours": lambda a=real, b=fake: frechet_distance(a, b),
            "torchmetrics": lambda a=real, b=fake: by_torchmetrics(a, b),
            "sqrtm": lambda a=real, b=fake: by_sqrtm(a, b),
        }
        rows = timed(sides, repeats, seconds)
        reference = by_gesvd(real, fake)
        _add_errors(rows, reference, total_variance(real, fake))
        results.append({"case": f"{n_real} x {n_fake}, d {dimension}", **_case(rows, reference)})
    return results


def measure_copies() -> list[dict[str, Any]]:
    results = []
    for count, dimension, factor in COPIES:
        real = features(count, dimension, 1)
        # S2 = c² S1, so tr (S1 S2)^½ = c tr S1 at any rank
        moved = float(real.mean(0).square().sum()) + total_variance(real)
        reference = (1.0 - factor) ** 2 * moved
        fake = factor * real
        sides: Sides = {
            "ours": lambda a=real, b=fake: frechet_distance(a, b),
            "torchmetrics": lambda a=real, b=fake: by_torchmetrics(a, b),
            "sqrtm": lambda a=real, b=fake: by_sqrtm(a, b),
        }
        rows = timed(sides, 1, 1.0)
        _add_errors(rows, reference, total_variance(real, fake))
        results.append(
            {"case": f"{count} x {factor} of them, d {dimension}", **_case(rows, reference)}
        )
    return results


def _add_errors(rows: dict[str, dict[str, float]], reference: float, scale: float) -> None:
    for row in rows.values():
        row["error"] = abs(row["value"] - reference) / scale
        row["error_of_value"] = abs(row["value"] / reference - 1.0)
        row["ratio"] = row["median_s"] / rows["ours"]["median_s"]


def _case(rows: dict[str, dict[str, float]], reference: float) -> dict[str, Any]:
    return {"reference": reference, "sides": rows}


def measure_kernel(repeats: int, seconds: float) -> dict[str, Any]:
    """The same random subsets on both sides (torchmetrics' default is 100 of 1000), and all."""
    real, fake = features(527, 2048, 1), features(1024, 2048, 2, spread=1.1)
    generator = torch.Generator().manual_seed(3)
    pairs = [
        tuple(rows[torch.randperm(len(rows), generator=generator)[:SUBSET_SIZE]] for rows in sets)
        for sets in [(real, fake)] * SUBSETS
    ]
    sides: Sides = {
        "ours": lambda: statistics.mean(kernel_distance(a, b).value for a, b in pairs),
        "torchmetrics": lambda: statistics.mean(float(poly_mmd(a, b)) for a, b in pairs),
        "ours, all samples": lambda: kernel_distance(real, fake).value,
    }
    rows = timed(sides, repeats, seconds)
    for row in rows.values():
        row["ratio"] = row["median_s"] / rows["ours"]["median_s"]
    difference = abs(rows["ours"]["value"] / rows["torchmetrics"]["value"] - 1.0)
    case = f"{SUBSETS} subsets of {SUBSET_SIZE}, d 2048"
    return {"case": case, "relative_difference": difference, "sides": rows}


def measure_interval(repeats: int, seconds: float) -> list[dict[str, Any]]:
    results = []
    for dimension in (454, 2048):
        real, fake = features(527, dimension, 1), features(1024, dimension, 2, spread=1.1)
        rows = timed(
            {
                "interval": lambda a=real, b=fake: frechet_interval(a, b).standard_error,
                "distance": lambda a=real, b=fake: frechet_distance(a, b),
            },
            repeats,
            seconds,
        )
        results.append({"case": f"527 x 1024, d {dimension}, 16 groups", "sides": rows})
    return results


def table(title: str, cases: list[dict[str, Any]]) -> None:
    print(f"\n{title}")
    for case in cases:
        print(f"  {case['case']}")
        for side, row in case["sides"].items():
            line = f"    {side:18}{row['median_s']:9.3f} s ({row['fastest_s']:.3f})"
            line += f"  {row['ratio']:7.1f} x" if "ratio" in row else ""
            if "error" in row:
                line += f"  error {row['error']:.0e} of the variance"
                line += f", {row['error_of_value']:.0e} of the value"
            print(f"{line}  [{int(row['repeats'])}]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.add_argument("--repeats", type=int, default=5, help="runs per case and side (5)")
    parser.add_argument("--seconds", type=float, default=3, help="limit per case and side (3)")
    parser.add_argument("--threads", type=int, help="CPU threads of torch (what torch chooses)")
    options = parser.parse_args()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    frechet_interval(features(20, 3, 1), features(20, 3, 2))  # imports what is imported late
    machine = describe(torch.device("cpu")) | {
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "torchmetrics": torchmetrics.__version__,
        "load_before": round(os.getloadavg()[0], 1),
    }
    results = {
        "frechet": measure_frechet(options.repeats, options.seconds),
        "copies": measure_copies(),
        "kernel": [measure_kernel(options.repeats, options.seconds)],
        "interval": measure_interval(options.repeats, options.seconds),
    }
    machine["load_after"] = round(os.getloadavg()[0], 1)
    if options.json:
        print(json.dumps({"machine": machine, "results": results}, indent=2))
        return
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    print("median seconds (fastest), times ours [repeats]; load above the threads: a busy machine")
    table("Fréchet distance, random sets", results["frechet"])
    table("Fréchet distance, scaled copies (times of one run)", results["copies"])
    table("Kernel distance, equal subsets", results["kernel"])
    agreement = results["kernel"][0]["relative_difference"]
    print(f"    values agree to {agreement:.0e}; ours also gives a standard error")
    table("Interval of the Fréchet distance", results["interval"])


if __name__ == "__main__":
    main()
