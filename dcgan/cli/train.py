"""`dcgan train`: the work, with its display, and what is said before and after."""

from __future__ import annotations

from pathlib import Path

from dcgan.cli.console import (
    load_bank_with_progress,
    load_extractor_with_progress,
    say,
    stop_signals,
)
from dcgan.cli.describe import describe, print_networks
from dcgan.cli.display import TrainingDisplay
from dcgan.cli.tables import extractor_notice
from dcgan.config.train_config import TrainConfig
from dcgan.data.bank import check_enough_photos
from dcgan.runtime.devices import resolve_device
from dcgan.training.distributed import Peers, torchrun_peers
from dcgan.training.follower import follow
from dcgan.training.loop import train
from dcgan.training.resume import as_begun
from dcgan.training.run.folder import RunFolder


def describe_run(config: TrainConfig, folder: Path, resume: bool) -> None:
    """Say what a run would be; nothing is written."""
    bank = load_bank_with_progress(config.data)
    check_enough_photos(bank, config)
    say(describe(as_begun(config, folder) if resume else config, bank, folder))


def launch(config: TrainConfig, folder: Path, resume: bool) -> None:
    """Train with a live display; under `torchrun`, with the other processes it started."""
    with torchrun_peers(config.train.device) as peers:
        if peers.rank == 0:
            _lead(config, folder, resume, peers)
            return
        bank = load_bank_with_progress(config.data, list_bad_files=False)
        check_enough_photos(bank, config)
        with stop_signals(processes=peers.size, quiet=True) as should_stop:
            follow(config, folder, bank, peers, resume=resume, should_stop=should_stop)


def _lead(config: TrainConfig, folder: Path, resume: bool, peers: Peers) -> None:
    bank = load_bank_with_progress(config.data)
    check_enough_photos(bank, config)
    if resume:
        config = as_begun(config, folder)
    RunFolder(folder).create()
    say(print_networks(config))
    together = f", {peers.size} processes" if peers.size > 1 else ""
    say(f"{len(bank.images)} photos{together}, results in {folder}")
    extractor = load_extractor_with_progress(config, resolve_device(config.train.device))
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
    for fault in result.picture_faults:
        say(f"note: {fault}")
    say(
        f"{result.steps} steps, {result.images_per_second:.0f} images/s; look at "
        f"{folder / 'real_vs_generated.png'} and {folder / 'losses.png'}; checkpoint "
        f"{folder / 'checkpoint.pt'}"
    )
