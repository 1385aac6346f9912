"""The training loop of every process but the first one under `torchrun`: it writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dcgan.config.train_config import TrainConfig
from dcgan.data.bank import PhotoBank
from dcgan.errors import TrainingDivergedError, UsageError
from dcgan.runtime.devices import clear_memory_errors, resolve_device
from dcgan.runtime.numerics import numerics
from dcgan.training.cuda_graphs import Stepper
from dcgan.training.distributed import Peers
from dcgan.training.precision import settle
from dcgan.training.resume import as_begun
from dcgan.training.run.checkpoint import load_checkpoint, restore
from dcgan.training.run.folder import RunFolder
from dcgan.training.schedule import Schedule
from dcgan.training.step import TrainState


@contextmanager
def _others_may_end() -> Iterator[None]:
    """Replace torch's long error about a lost process by one sentence."""
    try:
        yield
    except RuntimeError as error:
        if "onnection" not in str(error) and "gloo" not in str(error).lower():
            raise
        raise UsageError(
            "another process of this run has ended; its own message says why"
        ) from None


def follow(
    config: TrainConfig,
    out: Path,
    bank: PhotoBank,
    peers: Peers,
    *,
    resume: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Take the steps that `train` takes in the first process. Of `out`, only read the checkpoint.

    Raises `TrainingDivergedError` if a loss is not finite, here or in another process, and other
    `DcganError`s if photos, checkpoint or device cannot be used.
    """
    device = resolve_device(config.train.device)
    photos, _ = bank.split(config.data.holdout_fraction)
    if resume:
        config = as_begun(config, out)
    config, _ = settle(config, device, alone=False)
    with numerics(config.train), clear_memory_errors(), _others_may_end():
        schedule = Schedule(config, len(photos.images), device)
        peers.check_shares(schedule)
        state = TrainState.fresh(config, device, peers)
        checkpoint = RunFolder(out).checkpoint
        if resume and checkpoint.exists():
            restore(load_checkpoint(checkpoint), state)
        stepper = Stepper(state, photos.images.to(device), config)
        peers.check_same_start(state.step, bank.fingerprint, device)
        while state.step < schedule.total_steps:
            state.set_learning_rates(config, schedule.rate_factor(state.step))
            stepper.step(schedule.batch(state.step))
            if not schedule.read_back_due(state.step):
                continue
            stopping = peers.agree(should_stop(), device)
            if float(state.failed):
                raise TrainingDivergedError(state.step, schedule.epoch_of(state.step))
            if stopping:
                return
