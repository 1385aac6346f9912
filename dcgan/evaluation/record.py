"""One evaluation of a run, as the history, result files, MLflow and the study read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


def in_digits(value: float) -> str:
    """A distance or score as a person reads it: four digits, but no more than three decimals.

    Examples:
        >>> in_digits(1920.123), in_digits(52.0512), in_digits(0.98765)
        ('1920', '52.05', '0.988')
    """
    whole = len(f"{abs(value):.0f}")
    return f"{value:.{max(0, 4 - max(1, whole))}f}"


@dataclass(frozen=True, kw_only=True)
class EvalRecord:
    """One evaluation. Distances are comparable only at equal extractor, `n_samples` and photos.

    The defaults stand for fields that an earlier release did not write.
    """

    step: int = 0
    epoch: int = 0
    timestamp: float = 0.0
    """Seconds since 1970."""
    frechet_metric: str = ""
    """Name of the Fréchet distance of these features, as in `fd_layout`."""
    kernel_metric: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    """Numbers by name: those of the generator that counts, then the distances of each one that was
    scored (at a run's end both), with `_ema` and `_raw` after the distance's name."""
    imbalance: float | None = None
    """|log_loss_ratio|: ln 2 = 0.69 if one mean loss is twice the other; None before training."""
    log_loss_ratio: float | None = None
    """ln(mean loss_G / mean loss_D): above 0 D is ahead."""
    score_model: str = "ema"
    """The generator that counts: `ema` or `raw`."""
    n_samples: int = 0
    n_real: int = 0
    n_holdout: int = 0
    extractor: str = ""
    extractor_fingerprint: str = ""
    seconds: float = 0.0
    """Duration of the evaluation."""
    other: dict[str, float] = field(default_factory=dict, compare=False)
    """Numbers of the generator that does not count. The history does not hold them."""

    @property
    def frechet(self) -> float:
        """The Fréchet distance of the generator that counts."""
        return self.metrics[self.frechet_metric]

    @property
    def kernel(self) -> float:
        """The kernel distance of the generator that counts."""
        return self.metrics[self.kernel_metric]

    def metrics_of(self, model: str) -> dict[str, float]:
        """The numbers of one generator, `ema` or `raw`."""
        return self.metrics if model == self.score_model else self.other

    def scores(self) -> dict[str, Any]:
        """Flat plain data without times, as `dcgan evaluate --json` prints it."""
        plain: dict[str, Any] = {}
        for item in fields(self):
            if item.name == "metrics":
                plain |= self.metrics
            elif item.name not in ("timestamp", "seconds", "other"):
                plain[item.name] = getattr(self, item.name)
        return plain

    def to_dict(self) -> dict[str, Any]:
        """Flat plain data, as a line of `history.jsonl`."""
        when = {"step": self.step, "epoch": self.epoch, "timestamp": self.timestamp}
        return {"kind": "eval", **when, **self.scores(), "seconds": self.seconds}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> EvalRecord:
        """Read the output of `to_dict` of this or an earlier release."""
        known = {key: plain[key] for key in plain if key in NAMES}
        others = {key: plain[key] for key in plain if key not in NAMES}
        numbers = {key: value for key, value in others.items() if isinstance(value, int | float)}
        return cls(**known, metrics=numbers)


NAMES = frozenset(item.name for item in fields(EvalRecord)) - {"metrics", "other"}
"""Keys of the flat form that are not metrics."""
