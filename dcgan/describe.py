"""What the `dcgan` command prints: networks, a dry run's estimates, photos, scores."""

from __future__ import annotations

import shutil
import statistics
import time
from pathlib import Path

import torch

from dcgan.config import TrainConfig
from dcgan.config_io import dump_yaml
from dcgan.console import stdout
from dcgan.data import PhotoBank
from dcgan.devices import clear_memory_errors, numerics, resolve_device
from dcgan.evaluation import EvalResult
from dcgan.metrics.features import load_extractor
from dcgan.networks import Discriminator, Generator, parameter_count
from dcgan.schedule import Schedule
from dcgan.step import TrainState, training_step

FLOAT_BYTES = 4
MEASURED_STEPS = 3
GRID_BYTES_PER_PIXEL = 1  # measured on grids of noise and of samples: 0.5 to 1


def print_networks(config: TrainConfig) -> str:
    """Both networks, layer by layer, with their parameter counts."""
    model, size = config.model, config.data.image_size
    generator = Generator(model.nz, model.ngf, size)
    discriminator = Discriminator(model.ndf, size, model.leaky_slope)
    return (
        f"{generator}\n  {parameter_count(generator):,} parameters\n"
        f"{discriminator}\n  {parameter_count(discriminator):,} parameters"
    )


def extractor_notice(name: str) -> str:
    """Which network scores will come from, said before anything is trained."""
    extractor = load_extractor(name, "cpu")
    chosen = "chosen by auto, " if name == "auto" else ""
    return (
        f"scores: {extractor.frechet_name} (extractor {extractor.name}, {chosen}"
        f"fingerprint {extractor.fingerprint[:12]})"
    )


def describe(config: TrainConfig, bank: PhotoBank, folder: Path) -> str:
    """A dry run: the resolved config, the networks, and the time and disk a run would take."""
    device = resolve_device(config.train.device)
    schedule = Schedule(config, len(bank.images), device)
    seconds = seconds_per_step(config, bank) * schedule.total_steps
    parent = next(path for path in (folder, *folder.parents) if path.exists())
    free_mb = shutil.disk_usage(parent).free / 1e6
    return (
        f"{dump_yaml(config.model_dump(mode='json', exclude={'provenance'}))}\n"
        f"{print_networks(config)}\n\n"
        f"{len(bank.images)} photos, {schedule.steps_per_epoch} steps an epoch, "
        f"{schedule.total_steps} steps in all, on {device}\n"
        f"{extractor_notice(config.eval.extractor)}\n"
        f"training: about {minutes(seconds)} (measured over {MEASURED_STEPS} steps), plus scoring\n"
        f"disk: about {disk_megabytes(config, schedule):.0f} MB in {folder} "
        f"({free_mb:,.0f} MB free)"
    )


def seconds_per_step(config: TrainConfig, bank: PhotoBank) -> float:
    """Measure a few real steps on throw-away networks."""
    device = resolve_device(config.train.device)
    with numerics(config.train), clear_memory_errors():
        state = TrainState.fresh(config, device)
        photos = bank.images[: config.train.batch_size].to(device)
        float(training_step(state, photos, config)[0])  # the first step allocates
        start = time.monotonic()
        for _ in range(MEASURED_STEPS):
            losses = training_step(state, photos, config)
        float(losses[0])  # waits for the device
        return (time.monotonic() - start) / MEASURED_STEPS


def disk_megabytes(config: TrainConfig, schedule: Schedule) -> float:
    """Estimate of a run's folder: two checkpoints while one replaces the other, and grids."""
    model, size = config.model, config.data.image_size
    with torch.device("meta"):
        generator = parameter_count(Generator(model.nz, model.ngf, size))
        discriminator = parameter_count(Discriminator(model.ndf, size, model.leaky_slope))
    grids = schedule.total_steps // config.train.grid_every_steps + 2
    pictures = grids * GRID_BYTES_PER_PIXEL * (8 * max(128, size)) ** 2
    # G: weights, average and Adam's two moments; D: weights and Adam's two moments.
    checkpoints = 2 * FLOAT_BYTES * (4 * generator + 3 * discriminator)
    return (checkpoints + pictures) / 1e6 + 5


def minutes(seconds: float) -> str:
    """A duration in the unit a person would use."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def describe_photos(bank: PhotoBank) -> str:
    """Counts, original sizes and every unusable file with its reason."""
    lines = [f"{len(bank.images)} usable photos, fingerprint {bank.fingerprint[:12]}"]
    if bank.sizes:
        widths, heights = zip(*bank.sizes, strict=True)
        short = sorted(min(size) for size in bank.sizes)
        lines.append(
            f"original sizes: {min(widths)}–{max(widths)} wide, {min(heights)}–{max(heights)} "
            f"high, shorter side {short[0]}–{short[-1]} (median {statistics.median(short):.0f})"
        )
    if bank.ignored:
        lines.append(f"{bank.ignored} other files (not images) were left out")
    if bank.bad:
        lines.append(f"{len(bank.bad)} unusable files:")
        lines += [f"  {bad.path}: {bad.reason}" for bad in bank.bad]
    return "\n".join(lines)


def scores_table(result: EvalResult) -> None:
    """Print both generators' scores and the balance as a table."""
    from rich.table import Table

    table = Table(
        title=f"epoch {result.epoch}: {result.n_samples} generated, {result.n_real} photos"
    )
    for heading in ("generator", result.frechet_name, result.kernel_name, "± s.e."):
        table.add_column(heading, justify="left" if heading == "generator" else "right")
    for name, score in (("moving average (ema)", result.ema), ("last weights (raw)", result.raw)):
        table.add_row(
            name,
            f"{score.frechet:.3f}",
            f"{score.kernel:.5f}",
            f"{score.kernel_standard_error:.5f}",
        )
    console = stdout()
    console.print(table)
    if result.imbalance is not None and result.log_loss_ratio is not None:
        ahead = "D ahead" if result.log_loss_ratio > 0 else "G ahead"
        console.print(f"G/D imbalance {result.imbalance:.2f} ({ahead}); 0 is the equilibrium")
