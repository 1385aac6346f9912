"""What the `dcgan` command prints: networks, a dry run's estimates, photos."""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path

from dcgan.cli.tables import planned_extractor
from dcgan.config.train_config import TrainConfig
from dcgan.config.yaml_files import dump_yaml
from dcgan.data.bank import PhotoBank
from dcgan.data.duplicates import DuplicateGroup
from dcgan.models.networks import Discriminator, Generator, parameter_count
from dcgan.runtime.devices import resolve_device
from dcgan.training.run.size import run_bytes
from dcgan.training.schedule import Schedule
from dcgan.training.speed import MEASURED_STEPS, images_per_second


def print_networks(config: TrainConfig) -> str:
    """Both networks, layer by layer, with their parameter counts."""
    model, size = config.model, config.data.image_size
    generator = Generator(model.nz, model.ngf, size)
    discriminator = Discriminator(model.ndf, size, model.leaky_slope)
    return (
        f"{generator}\n  {parameter_count(generator):,} parameters\n"
        f"{discriminator}\n  {parameter_count(discriminator):,} parameters"
    )


def describe(config: TrainConfig, bank: PhotoBank, folder: Path) -> str:
    """A dry run: the resolved config, the networks, and the time and disk a run would take."""
    device = resolve_device(config.train.device)
    photos, holdout = bank.split(config.data.holdout_fraction)
    held_out = f" and {len(holdout.images)} held out" if holdout else ""
    schedule = Schedule(config, len(photos.images), device)
    trained = len(photos.images) * config.train.epochs
    seconds = trained / images_per_second(config)
    parent = next(path for path in (folder, *folder.parents) if path.exists())
    free_mb = shutil.disk_usage(parent).free / 1e6
    return (
        f"{dump_yaml(config.model_dump(mode='json', exclude={'provenance'}))}\n"
        f"{print_networks(config)}\n\n"
        f"{len(photos.images)} photos{held_out}, {schedule.steps_per_epoch} steps an epoch, "
        f"{schedule.total_steps} steps in all, on {device}\n"
        f"{planned_extractor(config)}\n"
        f"training: about {minutes(seconds)} (measured over {MEASURED_STEPS} steps), plus scoring\n"
        f"disk: about {run_bytes(config, schedule) / 1e6:.0f} MB in {folder} "
        f"({free_mb:,.0f} MB free)"
    )


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


def describe_duplicates(groups: list[DuplicateGroup], most: int = 20) -> str:
    """Photos that are there more than once, by name."""
    if not groups:
        return "no duplicates found"
    extra = sum(len(group.names) - 1 for group in groups)
    lines = [
        f"{extra} photos show the same picture as another one, which makes scores on held-out "
        "photos look better than they are:"
    ]
    for group in groups[:most]:
        kind = "same pixels" if group.exact else "nearly the same"
        lines.append(f"  {kind}: {', '.join(group.names)}")
    if len(groups) > most:
        lines.append(f"  … and {len(groups) - most} more groups")
    return "\n".join(lines)
