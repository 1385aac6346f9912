"""Trials whose game is over are stopped, with the reason in plain words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from optuna.trial import TrialState

from dcgan.config.settings import override
from dcgan.evaluation.record import EvalRecord
from dcgan.training.run.history import LogRecord, Record
from study.config.study_config import CollapseConfig, StudyConfig
from study.running.study import run_study
from study.search.collapse import collapse_reason
from study.storage.store import Store

HEALTHY = {"loss_d": 1.2, "loss_g": 1.0, "d_real": 0.6, "d_fake_before": 0.4}
SATURATED = {"loss_d": 0.01, "loss_g": 6.0, "d_real": 0.998, "d_fake_before": 0.002}
RUNAWAY = {"loss_d": 41.0, "loss_g": 12.0, "d_real": 0.5, "d_fake_before": 0.5}


def logs(*epochs: dict[str, float]) -> list[Record]:
    """A log record an epoch, from epoch 1."""
    return [
        LogRecord(epoch=number, **values, d_fake_after=0.5)
        for number, values in enumerate(epochs, start=1)
    ]


def evals(*spreads: float) -> list[Record]:
    return [
        EvalRecord(epoch=2 * n + 2, metrics={"spread": value}) for n, value in enumerate(spreads)
    ]


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        (logs(), None),
        (logs(*[HEALTHY] * 9), None),
        (logs(*[HEALTHY] * 6, *[SATURATED] * 3), None),  # not for long enough yet
        (
            logs(*[HEALTHY] * 5, *[SATURATED] * 4),
            "D saturated since epoch 6: D(x) = 1.00, D(G(z)) = 0.00, lr_d/lr_g = 8",
        ),
        (logs(*[SATURATED] * 5, HEALTHY, *[SATURATED] * 3), None),  # it came back once
        (logs(*[SATURATED] * 5, HEALTHY), None),
        (
            logs(HEALTHY, *[RUNAWAY] * 4),
            "loss ran away since epoch 2: loss_D = 41, loss_G = 12, lr_d/lr_g = 8",
        ),
        (logs(*[HEALTHY] * 9) + evals(0.5, 0.0005), None),
        (
            logs(*[HEALTHY] * 9) + evals(0.5, 0.0005, 0.0004, 0.0002),
            "G makes one image since epoch 4: its images vary 2e-04 times as much as the photos, "
            "lr_d/lr_g = 8",
        ),
        ([EvalRecord(epoch=9)], None),  # a history of an older version
    ],
)
def test_signs_must_last(
    tiny_study: Callable[..., StudyConfig], records: list[Record], reason: str | None
) -> None:
    config = override(tiny_study().base, {"optim.lr_d": 8e-4, "optim.lr_g": 1e-4}, "test")
    assert collapse_reason(records, config, CollapseConfig()) == reason
    assert collapse_reason(records, config, CollapseConfig(patience_epochs=0)) is None


@pytest.mark.slow
def test_a_trial_whose_d_has_won_is_stopped(
    tiny_study: Callable[..., StudyConfig], store: Store, mirror_of: Any
) -> None:
    settings = {
        "study__trials": 1,
        "baselines": [],
        "pruner__name": "none",
        "base__train__epochs": 60,
        "base__eval__every_epochs": 4,
        "base__model__ndf": 16,
        "base__optim__lr_d": 5e-3,
        "space": {"optim.lr_g": {"type": "float", "low": 1e-7, "high": 2e-7}},
    }
    (trial,) = run_study(tiny_study(**settings), store).study.get_trials()
    assert trial.state == TrialState.PRUNED
    reason = trial.user_attrs["reason"]
    assert reason.startswith("D saturated since epoch ")
    assert "D(x) = 1.00, D(G(z)) = 0.00, lr_d/lr_g = " in reason
    assert max(trial.intermediate_values) < 60
    (run,) = mirror_of(store).runs("trial")
    assert (run.info.status, run.data.tags["reason"]) == ("KILLED", reason)
