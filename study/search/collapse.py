"""Trials that have collapsed: their game is over, whatever their score still does.

Read from a run's history, so that a continued trial is judged as an undisturbed one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import TypeVar

from dcgan.config.train_config import TrainConfig
from dcgan.training.run.history import EvalRecord, LogRecord, Record
from study.config.study_config import CollapseConfig

RecordT = TypeVar("RecordT", LogRecord, EvalRecord)


def _saturated(log: LogRecord) -> str | None:
    """D(x) and D(G(z)) near 1 and 0 leave G hardly a gradient."""
    if log.d_real > 0.99 and log.d_fake_before < 0.01:
        return f"D(x) = {log.d_real:.2f}, D(G(z)) = {log.d_fake_before:.2f}"
    return None


def _ran_away(log: LogRecord) -> str | None:
    """A cross-entropy of 30 means that D is sure of the wrong side by 13 orders of magnitude."""
    if max(log.loss_d, log.loss_g) > 30.0:
        return f"loss_D = {log.loss_d:.0f}, loss_G = {log.loss_g:.0f}"
    return None


def _one_image(scored: EvalRecord) -> str | None:
    spread = scored.metrics.get("spread", 1.0)
    if spread < 1e-3:
        return f"its images vary {spread:.0e} times as much as the photos"
    return None


LOG_SIGNS = {"D saturated": _saturated, "loss ran away": _ran_away}
EVAL_SIGNS = {"G makes one image": _one_image}
"""What to look for: each returns what it sees in a record in words, or None."""


def collapse_reason(
    records: Sequence[Record], config: TrainConfig, settings: CollapseConfig
) -> str | None:
    """Why a trial has no future, in words; None while it has one.

    Args:
        records: the run's history so far, oldest first.
        config: what the trial trains with.
        settings: how long a sign must last.
    """
    if settings.patience_epochs == 0:
        return None
    logs = [record for record in records if isinstance(record, LogRecord)]
    scored = [record for record in records if isinstance(record, EvalRecord)]
    reasons = chain(
        (_lasting(name, sign, logs, settings) for name, sign in LOG_SIGNS.items()),
        (_lasting(name, sign, scored, settings) for name, sign in EVAL_SIGNS.items()),
    )
    reason = next(filter(None, reasons), None)
    return reason and f"{reason}, lr_d/lr_g = {config.optim.lr_d / config.optim.lr_g:.2g}"


def _lasting(
    name: str,
    sign: Callable[[RecordT], str | None],
    records: Sequence[RecordT],
    settings: CollapseConfig,
) -> str | None:
    """A sign in words if it has been seen in all records of the last `patience_epochs` epochs."""
    since, seen = None, None
    for record in records:
        seen = sign(record)
        if seen is None:
            since = None
        elif since is None:
            since = record.epoch
    if since is not None and records[-1].epoch - since >= settings.patience_epochs:
        return f"{name} since epoch {since}: {seen}"
    return None
