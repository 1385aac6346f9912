"""The checkpoint: the whole state of a run in one file, written atomically.

It holds both networks, both optimizers, the moving average, the random streams, the losses of every
step, the config and the fingerprint of the photos. You can continue the run from it bit for bit.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from dcgan.config.settings import dotted_keys, get_dotted, validate
from dcgan.config.train_config import TrainConfig
from dcgan.errors import CheckpointError, ConfigError, first_line
from dcgan.models.ema import with_fresh_batchnorm
from dcgan.models.networks import Generator, build_generator
from dcgan.runtime.files import write_atomic
from dcgan.training.schedule import Schedule
from dcgan.training.step import TrainState

FORMAT = 1
FREE_KEYS = frozenset(
    {
        "data.root",  # the fingerprint says whether the photos are the same
        "train.epochs",
        "train.device",
        "train.threads",
        "train.cuda_graphs",  # the same numbers
        "train.checkpoint_every_epochs",
        "train.grid_every_steps",
        "train.log_every_steps",
        "eval.extractor",  # the history's fingerprint says whether it is the same
        "eval.weights",
        "eval.select",  # of what is on the disk
        "eval.fid_at_end",
        "provenance",
    }
)
"""Settings that may change when a run continues. They do not change what a step computes.

Another device or thread count can change the last digits. Another kind of device is refused if the
random streams do not fit it."""
STORED = ("step", "epoch", "data_fingerprint", "seconds", "losses")


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint. A loaded one is on the CPU."""

    path: Path
    config: TrainConfig
    step: int
    epoch: int
    """The epoch (from 1) of the last step."""
    data_fingerprint: str
    seconds: float
    """Time in training steps, including the time before a resume."""
    losses: Tensor
    """float32 `(step, 5)`, in the order of `STEP_FIELDS`."""
    state: dict[str, Any]
    """`TrainState.state_dict()`; a loaded checkpoint has the other values in it too."""


class _KeepsError:
    """A file that remembers the error of a write, which torch replaces by one of its own."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def save_checkpoint(checkpoint: Checkpoint) -> None:
    """Write it atomically and durably. Raises `CheckpointError` if it cannot be written."""
    path, config = checkpoint.path, checkpoint.config.model_dump(mode="json")
    stored = {name: getattr(checkpoint, name) for name in STORED}
    content = {"format": FORMAT, "config": config, **stored, **checkpoint.state}
    kept = list[_KeepsError]()

    def write(file: BinaryIO) -> None:
        kept.append(_KeepsError(file))
        torch.save(content, kept[0])  # type: ignore[arg-type]

    try:
        write_atomic(path, write, durable=True)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        original = kept[0].error or error if kept else error
        reason = getattr(original, "strerror", None) or first_line(original)
        raise CheckpointError(f"cannot write the checkpoint {path}: {reason}") from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint without running code that it may contain.

    Raises `CheckpointError` if it is missing, damaged, from another program, or of another format.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}{_if_removed(path)}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for a damaged file
        raise CheckpointError(
            f"{path} is not a readable checkpoint ({type(error).__name__}); it may be damaged or "
            "from another program"
        ) from None
    if not isinstance(content, dict) or "format" not in content or "generator" not in content:
        raise CheckpointError(f"{path} is not a checkpoint of this program")
    if content["format"] != FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {content['format']}, this program reads {FORMAT}; "
            "use the version that wrote it"
        )
    try:
        config = validate(TrainConfig, content["config"], str(path))
        stored = {name: content[name] for name in STORED}
        return Checkpoint(path=path, config=config, state=content, **stored)
    except (ConfigError, KeyError) as error:
        raise CheckpointError(f"{path} was written by an incompatible version: {error}") from None


def _if_removed(path: Path) -> str:
    """What to do if only the checkpoints are missing from a run's folder."""
    config = path.with_name("config.yaml")
    run = config.is_file() and path.with_name("history.jsonl").is_file()
    if not run or path.with_name("checkpoint.pt").is_file():
        return ""
    command = f"dcgan train {shlex.quote(str(config))} --out DIR"
    return (
        " any more; the other files of its run are there, so it was removed to save space: "
        f"'{command}' trains the run again"
    )


def restore(checkpoint: Checkpoint, state: TrainState) -> None:
    """Load a checkpoint into a fresh state. Raises `CheckpointError` if it does not fit it."""
    try:
        state.load_state_dict(checkpoint.state)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{checkpoint.path} does not fit this config or device: {first_line(error)}"
        ) from None


def check_continues(
    checkpoint: Checkpoint, config: TrainConfig, data_fingerprint: str, photos: int
) -> None:
    """Raise `CheckpointError` if photos or settings (except `FREE_KEYS`) are not the run's own.

    `photos` is the number of photos that it trains on.
    """
    keys = [key for key in dotted_keys(TrainConfig) if key not in FREE_KEYS]
    pairs = [(key, get_dotted(checkpoint.config, key), get_dotted(config, key)) for key in keys]
    differences = [f"{key} was {old}, now {new}" for key, old, new in pairs if old != new]
    if differences:
        raise CheckpointError(
            f"{checkpoint.path} belongs to another config ({'; '.join(differences[:4])}); restore "
            "these settings or train into another folder"
        )
    _check_same_rates(checkpoint, config, photos)
    if checkpoint.data_fingerprint != data_fingerprint:
        raise CheckpointError(
            f"{checkpoint.path} was trained on other photos (fingerprint "
            f"{checkpoint.data_fingerprint[:12]}, now {data_fingerprint[:12]}); restore the photos "
            "or train into another folder"
        )


def _check_same_rates(checkpoint: Checkpoint, config: TrainConfig, photos: int) -> None:
    """Raise `CheckpointError` if another number of epochs contradicts the learning rates so far."""
    begun, device = checkpoint.config, torch.device("cpu")
    # Rates fall, so if those of the last step agree, all did.
    last = max(checkpoint.step - 1, 0)
    then, now = (Schedule(one, photos, device).rate_factor(last) for one in (begun, config))
    if then != now:
        raise CheckpointError(
            f"{checkpoint.path} has done {checkpoint.epoch} epochs of a run of "
            f"{begun.train.epochs} whose learning rates fall over the last "
            f"{begun.optim.decay_fraction:.0%}, which a run of {config.train.epochs} contradicts; "
            f"continue with train.epochs={begun.train.epochs}, or train into another folder"
        )


def load_generator(checkpoint: Checkpoint, which: str, device: torch.device) -> Generator:
    """The `ema` generator (with newly measured BatchNorm) or the `raw` one, in eval mode.

    Raises `CheckpointError` if the weights do not fit the checkpoint's own config.
    """
    generator = build_generator(checkpoint.config)
    try:
        generator.load_state_dict(checkpoint.state["ema" if which == "ema" else "generator"])
    except (RuntimeError, KeyError) as error:
        raise CheckpointError(f"{checkpoint.path} is damaged: {first_line(error)}") from None
    generator = generator.to(device).requires_grad_(False)
    return with_fresh_batchnorm(generator) if which == "ema" else generator.eval()
