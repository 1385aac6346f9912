"""What the `dcgan` command prints about scores: the extractor and the tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from rich.table import Table

from dcgan.cli.console import stdout
from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig
from dcgan.errors import EvaluationError
from dcgan.evaluation.evaluator import configured_extractor
from dcgan.evaluation.extractors.base import Extractor
from dcgan.evaluation.extractors.registry import auto_prefers_inception
from dcgan.evaluation.extractors.weights import CANONICAL, named_weights, offline, weights_at_hand
from dcgan.evaluation.floor_report import FloorReport
from dcgan.evaluation.memorisation_report import MemorisationReport
from dcgan.evaluation.metrics.parts import JOINED
from dcgan.evaluation.metrics.registry import METRICS
from dcgan.evaluation.record import EvalRecord, in_digits
from dcgan.runtime.devices import resolve_device

FEWEST_TO_JUDGE = 50
"""With this many photos, chance repeats less than one image in a hundred (measured)."""


def extractor_notice(extractor: Extractor, asked: str) -> str:
    """The network that scores will use, and where it comes from."""
    chosen = "chosen by auto, " if asked == "auto" else ""
    return (
        f"scores: {extractor.frechet_name} (extractor {extractor.name}, {chosen}"
        f"{extractor.source}, fingerprint {extractor.fingerprint[:12]})"
    )


def planned_extractor(config: TrainConfig) -> str:
    """`extractor_notice` for a run that has not begun; nothing is downloaded."""
    name, device = config.eval.extractor, resolve_device(config.train.device)
    wanted = name == "inception" or auto_prefers_inception(name, device, config.eval.weights)
    if wanted and _at_hand(config):
        config = override(config, {"eval.extractor": "inception"}, "eval.extractor")
    elif wanted and not offline():
        otherwise = ", or fd_joint if the download fails" if name == "auto" else ""
        megabytes = f"{CANONICAL.size / 1e6:.0f} MB"
        return f"scores: fid, after Inception's weights are downloaded ({megabytes}){otherwise}"
    return extractor_notice(configured_extractor(config, torch.device("cpu")), name)


def _at_hand(config: TrainConfig) -> bool:
    try:
        return weights_at_hand(config.eval.weights)
    except EvaluationError:
        if config.eval.extractor == "auto" and named_weights(config.eval.weights) is None:
            return False  # auto downloads a damaged file again
        raise


def print_evaluation(result: EvalRecord, copies: MemorisationReport | None) -> None:
    """Both generators' scores, the noise floor, the holdout, the balance and memorisation."""
    fd, kd, metrics = result.frechet_metric, result.kernel_metric, result.metrics
    table = Table(
        title=f"epoch {result.epoch}: {result.n_samples} generated, {result.n_real} photos, "
        f"extractor {result.extractor}"
    )
    table.add_column("generator")
    _add_columns(table, fd, kd)
    for model, name in (("ema", "moving average (ema)"), ("raw", "last weights (raw)")):
        counts = "*" if model == result.score_model else ""
        table.add_row(f"{name}{counts}", *_cells(result.metrics_of(model), fd, kd))
    console = stdout()
    console.print(table)
    console.print("* counts (eval.score_model); 95 %: the interval over other fakes of this n")
    _print_parts(metrics, fd)
    if f"{fd}_holdout" in metrics:
        console.print(
            f"{fd} to {result.n_holdout} photos never trained on: "
            f"{in_digits(metrics[f'{fd}_holdout'])}; to as many training photos: "
            f"{in_digits(metrics[f'{fd}_trained'])}"
        )
    _print_recognised(metrics, result.extractor)
    if result.balance:
        console.print(f"G/D imbalance {result.balance}; 0 is the equilibrium")
    if copies is None:
        return
    enough = result.n_real >= FEWEST_TO_JUDGE
    chance = "by chance: below 1 %" if enough else f"with {result.n_real} photos this is a guess"
    console.print(
        f"memorised: {copies.pictures.fraction:.1%} of the images repeat one of these photos "
        f"({chance}); --panel FILE.png draws the closest"
    )


def print_comparison(record: dict[str, Any]) -> None:
    """The distances of two folders."""
    fd, kd = record["frechet_metric"], record["kernel_metric"]
    table = Table(
        title=f"{record['n_real']} against {record['n_fake']} images of "
        f"{record['width']}×{record['height']} pixels"
    )
    _add_columns(table, fd, kd)
    table.add_row(*_cells(record, fd, kd))
    console = stdout()
    console.print(table)
    _print_parts(record, fd)
    _print_recognised(record, record["extractor"])
    console.print(
        f"extractor {record['extractor']} ({record['extractor_source']}), fingerprint "
        f"{record['extractor_fingerprint'][:12]}"
    )
    if record["n_kept"] < min(record["n_real"], record["n_fake"]):
        console.print(f"all numbers but {fd} use {record['n_kept']} random images of each folder")


def _print_parts(metrics: Mapping[str, Any], fd: str) -> None:
    """The distances by each of an extractor's networks alone."""
    names = [name for name in JOINED if name in metrics and name != fd]
    if names:
        each = ", ".join(f"{name} {in_digits(metrics[name])}" for name in names)
        stdout().print(f"{fd} joins two networks; by each alone: {each}")


def _print_recognised(metrics: Mapping[str, Any], extractor: str) -> None:
    """The share of images taken for what the photos show, or why there is none."""
    if "recognised" in metrics:
        low, high = metrics["recognised_low"], metrics["recognised_high"]
        stdout().print(
            f"recognised: {metrics['recognised']:.1%} of the images (95 %: {low:.1%} to "
            f"{high:.1%}) get a class that the photos mostly get; of the photos "
            f"{metrics['recognised_of_photos']:.0%}"
        )
    elif extractor in ("joint", "imagenet"):
        stdout().print(
            "recognised: not given, because the network hardly recognises what the photos show"
        )


def print_floor(report: FloorReport, extractor: Extractor) -> None:
    """The noise floor by numbers of images, and what can be told apart."""
    metric, resolution = extractor.frechet_name, report.resolution
    table = Table(title=f"{metric} of a perfect generator")
    for heading in ("photos", "fakes", metric, ""):
        table.add_column(heading, justify="right" if heading else "left")
    for photos, fakes, value, known in report.rows():
        table.add_row(f"{photos}", f"{fakes}", in_digits(value), known)
    console = stdout()
    console.print(table)
    console.print(
        f"With {report.photos} photos and {report.n_samples} generated images, scores up to about "
        f"{in_digits(report.here)} do not differ visibly from perfect."
    )
    console.print(
        f"At a score of {in_digits(report.score)}, {resolution.sizes[0]} photos against as many "
        f"generated images distinguish generators {resolution.differences[0]:.0%} apart; "
        f"{resolution.difference:.0%} takes about {resolution.images:,} of each."
    )


def _add_columns(table: Table, fd: str, kd: str) -> None:
    names = {"frechet": fd, "kernel": kd}
    shown = [
        item.heading or name.format(**names) for item in METRICS.values() for name in item.table
    ]
    for heading in (fd, "95 %", kd, "± s.e.", *shown):
        table.add_column(heading, justify="right")


def _cells(metrics: dict[str, Any], fd: str, kd: str) -> list[str]:
    def shown(name: str, digits: int) -> str:
        key = name.format(frechet=fd, kernel=kd)
        return f"{metrics[key]:.{digits}f}" if key in metrics else "–"

    low, high = metrics.get(f"{fd}_low"), metrics.get(f"{fd}_high")
    return [
        in_digits(metrics[fd]) if fd in metrics else "–",
        "–" if low is None or high is None else f"{in_digits(low)} – {in_digits(high)}",
        shown(kd, 5),
        shown(f"{kd}_standard_error", 5),
        *(shown(name, item.digits) for item in METRICS.values() for name in item.table),
    ]
