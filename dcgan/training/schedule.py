"""Which photos each step uses, and what is due after a step."""

from __future__ import annotations

import torch
from torch import Tensor

from dcgan.config.train_config import TrainConfig
from dcgan.runtime.seeds import make_rng


class Schedule:
    """The schedule of a run over `n_photos` photos. `step` counts from 0, `done` from 1."""

    def __init__(self, config: TrainConfig, n_photos: int, device: torch.device) -> None:
        self.config = config
        self.n_photos = n_photos
        self.device = device
        self.steps_per_epoch = -(-n_photos // config.train.batch_size)
        self.total_steps = self.steps_per_epoch * config.train.epochs
        self._order: tuple[int, Tensor] | None = None

    def batch(self, step: int) -> Tensor:
        """int64 `(B,)`: the indices of one step's photos. An epoch's last batch may be smaller.

        The order of an epoch depends only on seed and epoch.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            rng = make_rng("cpu", self.config.train.seed, "order", epoch)
            permutation = torch.randperm(self.n_photos, generator=rng)
            self._order = (epoch, permutation.to(self.device))
        size = self.config.train.batch_size
        return self._order[1][position * size : (position + 1) * size]

    def rate_factor(self, step: int) -> float:
        """What the learning rates of a step are multiplied by, in (0, 1].

        It falls linearly from 1 over the last `optim.decay_fraction` of the steps, and would reach
        0 after the last one.
        """
        falling = self.config.optim.decay_fraction * self.total_steps
        left = self.total_steps - step
        return left / falling if falling > 0 and left < falling else 1.0

    def epoch_of(self, done: int) -> int:
        """The epoch (from 1) of the last of `done` steps; 0 before the first step."""
        return -(-done // self.steps_per_epoch)

    def grid_due(self, done: int) -> bool:
        """Whether a fixed-noise grid is due: at step 0, every interval, and with each score."""
        return done % self.config.train.grid_every_steps == 0 or self.eval_due(done)

    def log_due(self, done: int) -> bool:
        """Whether a log record is due: every interval and at the end of each epoch."""
        return done % self.config.train.log_every_steps == 0 or done % self.steps_per_epoch == 0

    def read_back_due(self, done: int) -> bool:
        """Whether the losses are read back: before a log record, grid, score or checkpoint."""
        return self.log_due(done) or self.grid_due(done) or self.checkpoint_due(done)

    def eval_due(self, done: int) -> bool:
        """Whether a score is due: every `eval.every_epochs` epochs and at the end."""
        return self._epochs_due(done, self.config.eval.every_epochs)

    def checkpoint_due(self, done: int) -> bool:
        """Whether a checkpoint is due: every `checkpoint_every_epochs` epochs and at the end."""
        return self._epochs_due(done, self.config.train.checkpoint_every_epochs)

    def _epochs_due(self, done: int, every: int) -> bool:
        whole = every > 0 and done % (every * self.steps_per_epoch) == 0
        return whole or done == self.total_steps
