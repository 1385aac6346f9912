"""The two convolutions that leave the library, beside the library's: milliseconds on a CPU.

    python -m benchmarks.training.convolutions --threads 2
    ONEDNN_MAX_CPU_ISA=AVX2 python -m benchmarks.training.convolutions --threads 1

The sizes are those of the reference recipe. Ours and the library's take turns; medians count.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight

from dcgan.models.convolutions import double, weight_gradient
from dcgan.runtime.memory import keep_freed_memory

BATCH, TURNS = 32, 15
DOUBLED = {"G's last layer": (64, 3, 32), "gradient for D's images": (32, 3, 32)}
"""Name → channels before and after, side of the smaller images."""
WEIGHTS = {"weights of G's 4 to 8 pixels": (512, 256, 4), "weights of D's 8 to 4": (256, 128, 4)}
KINDS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    keep_freed_memory()
    print("| what | precision | ours, ms | the library's, ms |\n|---|---|---|---|")
    for name, sizes in (DOUBLED | WEIGHTS).items():
        for kind, dtype in KINDS.items():
            ours, theirs = side_by_side(*functions(name in WEIGHTS, *sizes, dtype))
            print(f"| {name} | {kind} | {ours:.2f} | {theirs:.2f} |")


def functions(
    of_weights: bool, wide: int, narrow: int, side: int, kind: torch.dtype
) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """Ours and the library's, ready to be called."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape).to(kind).contiguous(memory_format=torch.channels_last)

    small, weight = draw(BATCH, wide, side, side), draw(wide, narrow, 4, 4)
    large = draw(BATCH, narrow, 2 * side, 2 * side)
    if of_weights:
        return (
            lambda: weight_gradient(large, small, weight),
            lambda: conv2d_weight(large, weight.shape, small, stride=2, padding=1),
        )
    return (
        lambda: double(small, weight),
        lambda: F.conv_transpose2d(small, weight, stride=2, padding=1),
    )


@torch.no_grad()
def side_by_side(*calls: Callable[[], Tensor]) -> list[float]:
    """Milliseconds of each call, in turns."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(TURNS):
        for call, taken in zip(calls, seconds, strict=True):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) * 1e3 for taken in seconds]


if __name__ == "__main__":
    main()
