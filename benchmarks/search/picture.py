"""Draw one study in rungs, over real learning curves.

    python -m benchmarks.search.picture [--trials 24] [--seed 0] [--to docs/rungs.webp]

Its trials are configs of cats_curves.csv (see curves.py), each at most once, in a random order.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from benchmarks.search.curves import TABLE, read_table
from benchmarks.search.efficiency import OF_CATS, Curve, race, read_curves

COLOURS = ("#9aa5b1", "#4c78a8", "#d62728")
"""Of curves that end on the first rung, on the second, and at the end."""
QUALITY = 90


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0, help="which configs are drawn")
    parser.add_argument("--to", type=Path, default=Path("docs/rungs.webp"))
    arguments = parser.parse_args()
    curves = read_curves(TABLE)
    drawn = random.Random(arguments.seed).sample(curves, k=min(arguments.trials, len(curves)))
    images = {int(row["epoch"]): int(row["images"]) for row in read_table(TABLE)}
    figure = draw(drawn, *OF_CATS, images)
    figure.savefig(arguments.to, dpi=120, pil_kwargs={"quality": QUALITY})
    print(f"{arguments.to}: {len(drawn)} trials")


def reached(curves: Sequence[Curve], ends: tuple[int, ...], keep: float) -> list[int]:
    """The epoch to which each trial has trained at the end of the study."""
    epochs = [0] * len(curves)
    for leg in race(curves, ends, keep):
        epochs[leg.number] = leg.end
    return epochs


def draw(
    curves: Sequence[Curve], ends: tuple[int, ...], keep: float, images: dict[int, int]
) -> Figure:
    """The curves as far as they were trained, and what is known of the rest, pale."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots()
    stopped = reached(curves, ends, keep)
    for curve, epoch in sorted(zip(curves, stopped, strict=True), key=lambda it: it[1]):
        rung = sum(end < epoch for end in ends)
        seen = {at: score for at, score in curve.points.items() if at <= epoch}
        rest = {at: score for at, score in curve.points.items() if at >= epoch}
        xs, ys = [images[at] for at in seen], list(seen.values())
        axes.plot([images[at] for at in rest], list(rest.values()), color="#e8ebee", zorder=1)
        axes.plot(xs, ys, color=COLOURS[rung], linewidth=1 + 0.5 * rung, zorder=2 + rung)
        axes.plot(xs[-1:], ys[-1:], "o", color=COLOURS[rung], markersize=4, zorder=2 + rung)
    for rung, (end, colour) in enumerate(zip(ends, COLOURS, strict=True), 1):
        count = sum(epoch >= end for epoch in stopped)
        axes.axvline(images[end], color=colour, linestyle=":", zorder=0)
        side = "left" if 1 < rung < len(ends) else "right"  # the first two are close together
        place = axes.get_xaxis_transform()  # images, and the share of the height
        text = f"rung {rung}: {count} trial{'s' * (count > 1)}"
        axes.text(images[end], 1.02, text, transform=place, ha=side, color=colour)
    axes.set_xticks([images[end] for end in ends], [f"{images[end]:,}" for end in ends])
    axes.set_xlabel("images seen")
    axes.set_ylabel("distance (fd_joint)")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 6)))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlim(0, images[ends[-1]] * 1.02)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()
