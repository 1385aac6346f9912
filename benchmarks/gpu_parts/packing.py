"""Section: how many trials at once get the most images per second out of the GPU."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.gpu_parts.report import Line
from benchmarks.gpu_parts.setup import Setup
from dcgan.runtime.devices import processors
from dcgan.training.packing import COUNTS, train_together


def packing(setup: Setup) -> Iterator[Line]:
    """The images per second of 1, 2, 4 and 8 trainings at once, and the best number."""
    counts, seconds = (COUNTS[:2], 0.4) if setup.reduced else (COUNTS, 4.0)
    rates = {}
    for count in counts:
        config = setup.config(train__threads=max(1, processors() // count))
        found = train_together(config, count, seconds)
        rates[count] = round(found.images_per_second, 1)
        what = f"{count} at once" if count > 1 else "1 alone"
        yield Line(what, rates[count], "images/s in all")
        yield Line(f"{what}, memory of each", round(found.bytes_each / 2**20), "MiB")
    best = max(rates, key=lambda count: rates[count])
    times = rates[best] / rates[counts[0]]
    yield Line("best packing", f"{best} at once, {times:.2f} × one alone")
