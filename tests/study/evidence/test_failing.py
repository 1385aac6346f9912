"""Parts of a space in which trials fail, planted and found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from study.evidence import failing
from study.evidence.failing import Part, failing_parts


def trials(seed: int, count: int = 60) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {"lr_g": float(10 ** rng.uniform(-5, -2)), "nz": int(rng.integers(8, 64)), "kind": kind}
        for kind in rng.choice(["bce", "hinge"], count).tolist()
    ]


def test_the_end_of_a_range_in_which_trials_fail_is_found() -> None:
    params = trials(0)
    failed = [it["lr_g"] > 2e-3 for it in params]
    (part,) = failing_parts(params, failed, ["lr_g", "nz"])
    assert (part.name, part.side) == ("lr_g", "≥")
    inside = [bad for it, bad in zip(params, failed, strict=True) if it["lr_g"] >= part.value]
    assert (part.failed, part.trials) == (sum(inside), len(inside))
    assert part.failed + part.failed_elsewhere == sum(failed)
    assert part.trials + part.trials_elsewhere == len(params)


def test_a_choice_that_fails_is_found() -> None:
    params = trials(1)
    failed = [it["kind"] == "hinge" for it in params]
    part = failing_parts(params, failed, ["lr_g", "nz"])[0]
    assert (part.name, part.value, part.side) == ("kind", "hinge", "=")


def test_fishers_test_is_that_of_the_hypergeometric_distribution() -> None:
    part = Part("x", 1, "≥", 7, 9, 2, 21)
    expected = stats.hypergeom(30, 9, 9).sf(6)
    assert failing._p_value(part) == pytest.approx(expected)


def test_chance_is_seldom_taken_for_a_region() -> None:
    found = 0
    for seed in range(200):
        rng = np.random.default_rng(1000 + seed)
        found += bool(failing_parts(trials(seed), list(rng.random(60) < 0.3), ["lr_g", "nz"]))
    assert found / 200 < 0.06


def test_without_failures_or_values_there_is_nothing() -> None:
    assert failing_parts(trials(2), [False] * 60, ["lr_g", "nz"]) == []
    assert failing_parts([], [], []) == []
    assert failing_parts([{"a": 1}] * 30, [True] * 30, ["a"]) == []
