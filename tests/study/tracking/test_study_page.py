"""The distance that MLflow's views show is the one that the study minimises."""

from __future__ import annotations

from typing import Literal

import pytest

from study.tracking.study_page import distance_among


@pytest.mark.parametrize(
    ("extractor", "others"),
    [
        ("fd_joint", ["fd_imagenet", "fd_layout"]),
        ("fd_imagenet", []),
        ("fd_layout", []),
        ("fd_random", []),
        ("fid", []),
        ("fid_custom", []),
    ],
)
def test_by_extractor(extractor: str, others: list[str]) -> None:
    kernel = extractor.replace("fd_", "kd_").replace("fid", "kid")
    metrics = {"objective", "train/loss_g", "eval/imbalance", f"eval/{kernel}"}
    metrics |= {f"eval/{extractor}{end}" for end in ("", "_raw", "_times_floor", "_holdout")}
    metrics |= {f"eval/{name}" for name in others}
    kinds: list[tuple[Literal["frechet", "kernel"], str]] = [
        ("frechet", extractor),
        ("kernel", kernel),
    ]
    for kind, name in kinds:
        assert distance_among(metrics, kind) == f"eval/{name}"


def test_before_the_first_score() -> None:
    assert distance_among({"train/loss_g"}, "frechet") is None
