"""Sections: images per second of ours and of plain loops side by side; peak memory of ours.

The loops of a case train in processes of their own and take turns. The plain loop computes with
torch's defaults, which on a GPU are TF32 convolutions, so the targets are for our `tf32`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.gpu_parts.report import Line, at_least
from benchmarks.gpu_parts.setup import LARGEST, Setup
from benchmarks.lib.turns import Loop, Measured, take_turns

WORKERS = 8
TARGETS = {32: 10.0, 128: 5.0}
"""Batch size → how many times as fast as the plain loop."""
IN_MEMORY = "plain, in memory"
IN_MEMORY_TARGET = 4.0
NETWORKS: dict[str, dict[str, Any]] = {"reference": {}, "largest": LARGEST}
PRECISIONS = ("fp32", "tf32", "bf16")
LIKE_PLAIN = "tf32"
"""Our precision that is also the plain loop's."""


def speed(setup: Setup) -> Iterator[Line]:
    """The rates of each case and their ratios. Notes the peak memory of ours in `setup.peaks`."""
    if setup.reduced:
        loops = _loops(setup, {}, 16, ("fp32", "bf16"), workers=1)
        yield from _lines(setup, "reduced", 16, take_turns(loops, turns=1, seconds=0.4))
        return
    for network, changes in NETWORKS.items():
        for batch in TARGETS:
            loops = _loops(setup, changes, batch, PRECISIONS, WORKERS)
            yield from _lines(setup, network, batch, take_turns(loops, turns=3, seconds=1.0))


def memory(setup: Setup) -> Iterator[Line]:
    """The peak memory of each of our cases, as the section on speed saw it."""
    if not setup.peaks:
        raise RuntimeError("no case was measured: see the section on speed")
    for case, mib in setup.peaks.items():
        yield Line(case, round(mib), "MiB")


def _loops(
    setup: Setup, changes: dict[str, Any], batch: int, precisions: tuple[str, ...], workers: int
) -> dict[str, Loop]:
    def config(precision: str) -> Any:
        all_changes = changes | {"train.batch_size": batch, "train.precision": precision}
        return setup.config(**{key.replace(".", "__"): it for key, it in all_changes.items()})

    loops = {kind: Loop(kind, config(precisions[0]), workers) for kind in ("plain", IN_MEMORY)}
    return loops | {f"ours, {name}": Loop("ours", config(name)) for name in precisions}


def _lines(setup: Setup, network: str, batch: int, measured: dict[str, Measured]) -> Iterator[Line]:
    case = f"{network}, batch {batch}"
    for name, loop in measured.items():
        yield Line(f"{case}, {name}", round(loop.rate, 1), "images/s")
    for name, ours in measured.items():
        if not name.startswith("ours"):
            continue
        setup.peaks[f"{case}, {name.removeprefix('ours, ')}"] = ours.peak_mib
        applies = name.endswith(LIKE_PLAIN)
        for other, least in (("plain", TARGETS.get(batch, 0.0)), (IN_MEMORY, IN_MEMORY_TARGET)):
            ratio = round(ours.rate / measured[other].rate, 2)
            yield at_least(f"{case}, {name} / {other}", ratio, least, applies=applies)
