"""`dcgan train`: a run with its display, and a dry run."""

from __future__ import annotations

import shutil
from pathlib import Path

from dcgan.cli.console import load_bank_with_progress, progress_bar, say, stop_signals
from dcgan.cli.display import TrainingDisplay, describe_result
from dcgan.cli.tables import extractor_notice, planned_extractor
from dcgan.config.train_config import TrainConfig
from dcgan.config.yaml_files import dump_yaml
from dcgan.data.bank import PhotoBank, check_enough_photos
from dcgan.evaluation.evaluator import configured_extractor
from dcgan.models.networks import build_networks, parameter_count
from dcgan.runtime.devices import resolve_device
from dcgan.training.distributed import Peers, torchrun_peers
from dcgan.training.follower import follow
from dcgan.training.loop import train
from dcgan.training.precision import remark, settle
from dcgan.training.resume import as_begun, check_unused
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.size import run_bytes
from dcgan.training.schedule import Schedule
from dcgan.training.speed import MEASURED_STEPS, images_per_second


def describe_run(config: TrainConfig, folder: Path, resume: bool) -> None:
    """Print the config, the networks, and the time and disk space of a run; write nothing."""
    bank = _enough_photos(config)
    config, told = _settled(config, folder, resume)
    device = resolve_device(config.train.device)
    photos, holdout = bank.split(config.data.holdout_fraction)
    held_out = f" and {len(holdout.images)} held out" if holdout else ""
    schedule = Schedule(config, len(photos.images), device)
    seconds = len(photos.images) * config.train.epochs / images_per_second(config)
    parent = next(path for path in (folder, *folder.parents) if path.exists())
    free_mb = shutil.disk_usage(parent).free / 1e6
    say(
        f"{dump_yaml(config.model_dump(mode='json', exclude={'provenance'}))}\n"
        f"{_networks(config)}\n\n"
        f"{len(photos.images)} photos{held_out}, {schedule.steps_per_epoch} steps an epoch, "
        f"{schedule.total_steps} steps in all, on {device}\n"
        f"{planned_extractor(config)}\n{told}"
        f"training: about {_duration(seconds)} (measured over {MEASURED_STEPS} steps), plus "
        f"scoring\ndisk: about {run_bytes(config, schedule) / 1e6:.0f} MB in {folder} "
        f"({free_mb:,.0f} MB free)"
    )


def _networks(config: TrainConfig) -> str:
    """Both networks, layer by layer, with their parameter counts."""
    both = build_networks(config)
    return "\n".join(f"{net}\n  {parameter_count(net):,} parameters" for net in both)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def launch(config: TrainConfig, folder: Path, resume: bool) -> None:
    """Train with a live display, together with the other processes of `torchrun`."""
    with torchrun_peers(config.train.device) as peers:
        if peers.rank == 0:
            _lead(config, folder, resume, peers)
            return
        bank = _enough_photos(config, list_bad_files=False)
        with stop_signals(processes=peers.size, quiet=True) as should_stop:
            follow(config, folder, bank, peers, resume=resume, should_stop=should_stop)


def _enough_photos(config: TrainConfig, *, list_bad_files: bool = True) -> PhotoBank:
    bank = load_bank_with_progress(config.data, list_bad_files=list_bad_files)
    check_enough_photos(bank, config)
    return bank


def _settled(
    config: TrainConfig, folder: Path, resume: bool, *, alone: bool = True
) -> tuple[TrainConfig, str]:
    """The config as the run in `folder` began, with its precision, and a line about that."""
    if resume:
        config = as_begun(config, folder)
    device = resolve_device(config.train.device)
    config, choice = settle(config, device, alone=alone)
    told = str(choice or remark(config.train.precision, device))
    return config, f"{told}\n" if told else ""


def _lead(config: TrainConfig, folder: Path, resume: bool, peers: Peers) -> None:
    if not resume:
        check_unused(RunFolder(folder))
    bank = _enough_photos(config)
    config, told = _settled(config, folder, resume, alone=peers.size == 1)
    RunFolder(folder).create()
    say(_networks(config))
    together = f", {peers.size} processes" if peers.size > 1 else ""
    say(f"{told}{len(bank.images)} photos{together}, results in {folder}")
    with progress_bar("loading the extractor") as on_progress:
        device = resolve_device(config.train.device)
        extractor = configured_extractor(config, device, on_progress)
    say(extractor_notice(extractor, config.eval.extractor))
    signals = stop_signals(processes=peers.size)
    with signals as should_stop, TrainingDisplay() as display:
        result = train(
            config,
            folder,
            bank=bank,
            extractor=extractor,
            resume=resume,
            on_start=display.on_start,
            on_log=display.on_log,
            on_eval=display.on_eval,
            should_stop=should_stop,
            peers=peers,
        )
    for note in (*result.picture_faults, *result.photo_notes, *result.notes):
        say(f"note: {note}")
    say(
        f"{result.steps} steps, {result.images_per_second:.0f} images/s; look at "
        f"{folder / 'real_vs_generated.png'} and {folder / 'losses.png'}"
    )
    say(describe_result(result))
