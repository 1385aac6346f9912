"""The noise floor of a folder of photos, as a table, plain data and a plot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from dcgan.config.train_config import EvalConfig
from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics.floor import NoiseFloor, noise_floor
from dcgan.evaluation.metrics.resolution import Resolution, resolvable_difference
from dcgan.runtime.files import write_atomic


@dataclass(frozen=True)
class FloorReport:
    """What a perfect generator would score, and what differences can be seen."""

    photos: int
    n_samples: int
    floor: NoiseFloor
    resolution: Resolution
    score: float
    """Of the generators to be told apart, as measured with all photos and `n_samples` fakes."""

    @property
    def here(self) -> float:
        """The floor with all photos and `n_samples` fakes."""
        return self.floor.at(self.photos, self.n_samples)

    def rows(self) -> list[tuple[int, int, float, str]]:
        """(photos, fakes, floor, how it is known), smallest sets first."""
        measured = [
            (size, size, mean, f"measured, ± {spread:.3f}")
            for size, mean, spread in zip(
                self.floor.sizes, self.floor.means, self.floor.spreads, strict=True
            )
        ]
        beyond = [(self.photos, self.n_samples), (self.photos, 50_000), (2 * self.photos, 50_000)]
        known = [(n, m, self.floor.at(n, m), "extrapolated") for n, m in beyond]
        return measured[::-1] + known

    def as_record(self) -> dict[str, Any]:
        """Plain data."""
        keys = ("photos", "fakes", "floor", "known")
        return {
            "photos": self.photos,
            "n_samples": self.n_samples,
            "floor": self.here,
            "floors": [dict(zip(keys, row, strict=True)) for row in self.rows()],
            "score": self.score,
            "difference": self.resolution.difference,
            "images_to_resolve_it": self.resolution.images,
            "resolution": [
                {"images": size, "smallest_difference": difference}
                for size, difference in zip(
                    self.resolution.sizes, self.resolution.differences, strict=True
                )
            ],
        }

    def save_plot(self, path: Path, metric: str) -> None:
        """Floor against n: measured between photos, and as extrapolated. PNG, atomically."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 4.5), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        floor, most = self.floor, max(2 * self.photos, self.n_samples)
        sizes = sorted(
            {round(floor.sizes[-1] * (most / floor.sizes[-1]) ** (i / 40)) for i in range(41)}
        )
        axes.plot(sizes, [floor.at(m, m) for m in sizes], label="perfect generator, n against n")
        axes.errorbar(
            floor.sizes,
            floor.means,
            floor.spreads,
            fmt="o",
            label="measured: photos against photos",
        )
        axes.plot(
            [self.photos],
            [self.here],
            "*",
            markersize=12,
            label=f"{self.photos} photos against {self.n_samples} fakes",
        )
        axes.set(xscale="log", yscale="log", xlabel="images on each side", ylabel=metric)
        axes.set_title(f"What sampling alone adds to {metric}")
        axes.grid(alpha=0.2, which="both")
        axes.legend(frameon=False)
        write_atomic(path, lambda file: figure.savefig(file, format="png", dpi=110))


def report_floor(
    features: Tensor, score: float | None = None, n_samples: int = EvalConfig().n_samples
) -> FloorReport:
    """Measure the floor of photos' features `(N, d)`, N >= 6.

    Args:
        score: of two generators 5 % apart, as measured; ten times the floor if left out.

    Raises:
        EvaluationError: too few photos, or photos that all look the same.
    """
    floor = noise_floor(features)
    here = floor.at(len(features), n_samples)
    if here == 0.0:
        raise EvaluationError(
            "the photos all look the same, so there is no floor; check the photos"
        )
    asked = 10.0 * here if score is None else score
    # What is measured holds the floor; a score at the floor leaves nothing to tell apart.
    true_distance = max(asked - here, 0.01 * here)
    resolution = resolvable_difference(features, true_distance)
    return FloorReport(len(features), n_samples, floor, resolution, asked)
