"""One evaluation of a run, as the history, result files, MLflow and the study read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from dcgan.evaluation.score_table import score_rows
from dcgan.runtime.digits import in_digits as in_digits


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

    @property
    def balance(self) -> str:
        """The imbalance in words, as `0.42 (D ahead)`; empty before training."""
        if self.imbalance is None or self.log_loss_ratio is None:
            return ""
        return f"{self.imbalance:.2f} ({'D' if self.log_loss_ratio > 0 else 'G'} ahead)"

    def _repr_html_(self) -> str:
        """A notebook's table of the numbers, of both generators where both were scored."""
        from dcgan.runtime import html  # late: it imports Pillow

        others = {"ema": "raw", "raw": "ema"}
        columns = {f"{self.score_model} (counts)": self.metrics}
        if self.other:
            columns[others[self.score_model]] = self.other
        headings = [text for name in columns for text in (name, "95 %, or ± s.e.")]
        rows = score_rows(list(columns.values()), self.frechet_metric, self.kernel_metric)
        if self.balance:
            rows.append(["imbalance", self.balance, *[""] * (2 * len(columns) - 1)])
        title = (
            f"epoch {self.epoch}: {self.n_samples} generated, {self.n_real} photos, "
            f"extractor {self.extractor}"
        )
        return html.shown(html.heading(title), html.table(["", *headings], rows))

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
