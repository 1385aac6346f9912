"""The Pareto front as a picture of characters, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dcgan.evaluation.record import in_digits
from study.storage.trial_result import TrialResult

COLUMNS, LINES = 48, 12
"""Characters of the picture, without its axes."""
FRONT, OTHER = "●", "·"


def front_picture(rows: Sequence[TrialResult]) -> list[str]:
    """Complete trials by distance (to the right) and imbalance (upwards), in lines.

    The front is drawn over the others. Empty with fewer than two trials that differ in both.
    """
    points = [
        (row.values[0], row.values[1], bool(row.front))
        for row in rows
        if row.values and len(row.values) > 1 and all(map(math.isfinite, row.values))
    ]
    if not points:
        return []
    left, right = min(it[0] for it in points), max(it[0] for it in points)
    low, high = min(it[1] for it in points), max(it[1] for it in points)
    if left == right or low == high:
        return []
    canvas = [[" "] * COLUMNS for _ in range(LINES)]
    for distance, imbalance, on_front in sorted(points, key=lambda it: it[2]):
        column = round((distance - left) / (right - left) * (COLUMNS - 1))
        line = round((high - imbalance) / (high - low) * (LINES - 1))
        canvas[line][column] = FRONT if on_front else OTHER
    ends = {0: f"{high:.2f}", LINES - 1: f"{low:.2f}"}
    lines = [f"{ends.get(i, ''):>7} │{''.join(row).rstrip()}" for i, row in enumerate(canvas)]
    start, end = in_digits(left), in_digits(right)
    axis = f"{start}{'distance':^{COLUMNS - len(start) - len(end)}}{end}"
    return [
        f"imbalance, over distance: {FRONT} front, {OTHER} other trials",
        *lines,
        f"{'':7} └{'─' * COLUMNS}",
        f"{'':9}{axis}",
    ]
