"""Trials that have collapsed: their game is over, whatever their score still does.

Read from a run's history, so that a continued trial is judged as an undisturbed one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from dcgan.config.train_config import TrainConfig
from dcgan.training.run.history import Record
from study.config.study_config import CollapseConfig


class _Sign(NamedTuple):
    kind: str
    """Of the records it is read from: `log` (means of an interval) or `eval`."""
    seen: Callable[[Record], bool]
    words: Callable[[Record], str]


SIGNS = {
    "D saturated": _Sign(
        "log",
        lambda record: record["d_real"] > 0.99 and record["d_fake_before"] < 0.01,
        lambda record: f"D(x) = {record['d_real']:.2f}, D(G(z)) = {record['d_fake_before']:.2f}",
    ),
    "loss ran away": _Sign(
        "log",
        lambda record: max(record["loss_d"], record["loss_g"]) > 30.0,
        lambda record: f"loss_D = {record['loss_d']:.0f}, loss_G = {record['loss_g']:.0f}",
    ),
    "G makes one image": _Sign(
        "eval",
        lambda record: record.get("spread", 1.0) < 1e-3,
        lambda record: f"its images vary {record['spread']:.0e} times as much as the photos",
    ),
}
"""What to look for. D(x) and D(G(z)) near 1 and 0 leave G hardly a gradient; a cross-entropy of 30
means that D is sure of the wrong side by thirteen orders of magnitude."""


def collapse_reason(
    records: Sequence[Record], config: TrainConfig, settings: CollapseConfig
) -> str | None:
    """Why a trial has no future, in words; none while it has one.

    Args:
        records: the run's history so far, oldest first.
        config: what the trial trains with.
        settings: how long a sign must last.
    """
    if settings.patience_epochs == 0:
        return None
    for name, sign in SIGNS.items():
        known = [record for record in records if record["kind"] == sign.kind]
        since = None
        for record in known:
            if not sign.seen(record):
                since = None
            elif since is None:
                since = record["epoch"]
        if since is not None and known[-1]["epoch"] - since >= settings.patience_epochs:
            ratio = config.optim.lr_d / config.optim.lr_g
            return f"{name} since epoch {since}: {sign.words(known[-1])}, lr_d/lr_g = {ratio:.2g}"
    return None
