"""Parts of features that have a distance of their own."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

JOINED = ("fd_imagenet", "fd_layout")
"""The distances by the parts of the extractor `joint`, in their order."""


@dataclass(frozen=True)
class Part:
    """Columns of an extractor's features that are another extractor's, with a distance of its own.

    `name` is that of the Fréchet distance, and `scale` what its features are multiplied by.
    """

    name: str
    columns: slice
    scale: float = 1.0

    def of(self, features: Tensor) -> Tensor:
        """The other extractor's features `(N, k)` from all features `(N, d)`."""
        return features[:, self.columns] / self.scale
