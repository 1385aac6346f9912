"""The noise floor of a folder of photos, as a table, plain data and a plot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from dcgan.config.train_config import EvalConfig
from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics.floor import NoiseFloor, noise_floor
from dcgan.evaluation.metrics.resolution import Resolution, resolvable_difference
from dcgan.runtime.pictures import save_figure


@dataclass(frozen=True)
class FloorReport:
    """The score of a perfect generator, and the smallest visible difference."""

    photos: int
    n_samples: int
    floor: NoiseFloor
    resolution: Resolution
    score: float
    """Of the generators to compare, as measured with all photos and `n_samples` fakes."""

    @property
    def here(self) -> float:
        """The floor with all photos and `n_samples` fakes."""
        return self.floor.at(self.photos, self.n_samples)

    def rows(self) -> list[tuple[int, int, float, str]]:
        """(photos, fakes, floor, how it is known), smallest sets first."""
        floor = self.floor
        measured = [
            (size, size, mean, f"measured, ± {spread:.3f}")
            for size, mean, spread in zip(floor.sizes, floor.means, floor.spreads, strict=True)
        ]
        beyond = [(self.photos, self.n_samples), (self.photos, 50_000), (2 * self.photos, 50_000)]
        known = [(n, m, floor.at(n, m), "extrapolated") for n, m in beyond]
        return measured[::-1] + known

    def as_record(self) -> dict[str, Any]:
        """Plain data."""
        keys, resolution = ("photos", "fakes", "floor", "known"), self.resolution
        return {
            "photos": self.photos,
            "n_samples": self.n_samples,
            "floor": self.here,
            "floors": [dict(zip(keys, row, strict=True)) for row in self.rows()],
            "score": self.score,
            "difference": resolution.difference,
            "images_to_resolve_it": resolution.images,
            "resolution": [
                {"images": size, "smallest_difference": difference}
                for size, difference in zip(resolution.sizes, resolution.differences, strict=True)
            ],
        }

    def save_plot(self, path: Path, metric: str) -> None:
        """Write a PNG of the floor by n, measured between photos and extrapolated, atomically."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 4.5), layout="constrained")
        axes = figure.add_subplot()
        floor, most = self.floor, max(2 * self.photos, self.n_samples)
        sizes = np.unique(np.geomspace(floor.sizes[-1], most, 41).round().astype(int)).tolist()
        axes.plot(sizes, [floor.at(m, m) for m in sizes], label="perfect generator, n against n")
        measured = floor.sizes, floor.means, floor.spreads
        axes.errorbar(*measured, fmt="o", label="measured: photos against photos")
        label = f"{self.photos} photos against {self.n_samples} fakes"
        axes.plot([self.photos], [self.here], "*", markersize=12, label=label)
        axes.set(xscale="log", yscale="log", xlabel="images on each side", ylabel=metric)
        axes.set_title(f"What sampling alone adds to {metric}")
        axes.grid(alpha=0.2, which="both")
        axes.legend(frameon=False)
        save_figure(figure, path)


def report_floor(
    features: Tensor, score: float | None = None, n_samples: int = EvalConfig().n_samples
) -> FloorReport:
    """Measure the floor of photos' features `(N, d)`, N >= 6.

    `score` is the measured one of two generators 5 % apart, by default ten times the floor. Raises
    `EvaluationError` if there are too few photos or they all look the same.
    """
    floor = noise_floor(features)
    here = floor.at(len(features), n_samples)
    if here == 0.0:
        raise EvaluationError(
            "the photos all look the same, so there is no floor; check the photos"
        )
    asked = 10.0 * here if score is None else score
    # A measured score contains the floor. A score at the floor leaves nothing to resolve.
    true_distance = max(asked - here, 0.01 * here)
    resolution = resolvable_difference(features, true_distance)
    return FloorReport(len(features), n_samples, floor, resolution, asked)
