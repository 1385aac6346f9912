"""Detection of collapsed trials, whose training cannot recover.

It reads a run's history, so that a continued trial is judged like an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dcgan.config.train_config import TrainConfig
from dcgan.evaluation.record import EvalRecord
from dcgan.training.run.history import LogRecord, Record
from study.config.study_config import CollapseConfig


def _saturated(log: LogRecord) -> str | None:
    """D(x) near 1 and D(G(z)) near 0 leave G almost no gradient."""
    seen = log.d_real > 0.99 and log.d_fake_before < 0.01
    return f"D(x) = {log.d_real:.2f}, D(G(z)) = {log.d_fake_before:.2f}" if seen else None


def _ran_away(log: LogRecord) -> str | None:
    """A cross-entropy above 30 means that D gives the right answer a probability below 1e-13."""
    seen = max(log.loss_d, log.loss_g) > 30.0
    return f"loss_D = {log.loss_d:.0f}, loss_G = {log.loss_g:.0f}" if seen else None


def _one_image(scored: EvalRecord) -> str | None:
    spread = scored.metrics.get("spread", 1.0)
    return f"its images vary {spread:.0e} times as much as the photos" if spread < 1e-3 else None


SIGNS: dict[str, tuple[type[Record], Callable[[Any], str | None]]] = {
    "D saturated": (LogRecord, _saturated),
    "loss ran away": (LogRecord, _ran_away),
    "G makes one image": (EvalRecord, _one_image),
}
"""Sign of a collapse → the kind of record that shows it, and its description (None without it)."""


def collapse_reason(
    records: Sequence[Record], config: TrainConfig, settings: CollapseConfig
) -> str | None:
    """Why a trial counts as collapsed, in words; None if it does not.

    Args:
        records: the run's history so far, oldest first.
        config: the trial's train config.
        settings: how long a sign must last.
    """
    if settings.patience_epochs == 0:
        return None
    for name, (kind, sign) in SIGNS.items():
        since, seen, epoch = None, None, 0
        for record in records:
            if isinstance(record, kind):
                seen, epoch = sign(record), record.epoch
                since = None if seen is None else epoch if since is None else since
        if since is not None and epoch - since >= settings.patience_epochs:
            ratio = config.optim.lr_d / config.optim.lr_g
            return f"{name} since epoch {since}: {seen}, lr_d/lr_g = {ratio:.2g}"
    return None
