"""Every error a user can meet, in one place.

Each message is one sentence that says what is wrong, where, and what to do. The command line prints
it without a traceback and exits with the class's `exit_code`: 2 for wrong input, 1 for a failure.
"""

from __future__ import annotations


class DcganError(Exception):
    """Base of all expected errors; anything else that escapes is a bug."""

    exit_code = 1


class UsageError(DcganError):
    """A command was called with something that cannot work (a path, a name, a port)."""

    exit_code = 2


class ConfigError(UsageError):
    """A config file, a `--set` or a search space is wrong."""


class DataError(DcganError):
    """The photos cannot be used: folder missing or empty, too few readable ones."""


class CheckpointError(DcganError):
    """A checkpoint is missing, corrupt, or does not fit the config."""


class EvaluationError(DcganError):
    """A score cannot be computed: too few images, non-finite features, a bad extractor."""


class WeightsError(EvaluationError):
    """Pretrained weights are missing or are not the published ones."""


class RepeatsPhotosError(DcganError):
    """A generator draws copies of training photos, more than chance explains."""


class OutOfMemoryError(DcganError):
    """The device ran out of memory; the message names the settings that shrink the need."""


class TrainingDivergedError(DcganError):
    """A loss became NaN or infinite.

    Its update and all later ones were not applied. If only G's loss was not finite, D's update of
    that step was applied.
    """

    def __init__(self, step: int, epoch: int) -> None:
        self.step = step
        self.epoch = epoch
        super().__init__(
            f"training diverged: the loss of step {step} (epoch {epoch}) is not finite; lower "
            "optim.lr_g and optim.lr_d, everything saved up to the last checkpoint is kept"
        )


class TrainingInterrupted(DcganError):
    """Training was asked to stop (Ctrl-C, SIGTERM) and saved a checkpoint first."""

    exit_code = 130

    def __init__(self, step: int, checkpoint: str) -> None:
        self.step = step
        super().__init__(
            f"stopped after step {step}; continue with --resume from the checkpoint {checkpoint}"
        )


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type if the text is empty."""
    return str(error).partition("\n")[0].strip() or type(error).__name__
