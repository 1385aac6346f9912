"""Which photos a step sees, and what is due after it: functions of the config and the step."""

from __future__ import annotations

import torch
from torch import Tensor

from dcgan.config.train_config import TrainConfig
from dcgan.runtime.seeds import make_rng


class Schedule:
    """The plan of a run over `n_photos` photos. Steps are counted from 0; "done" counts from 1."""

    def __init__(self, config: TrainConfig, n_photos: int, device: torch.device) -> None:
        self.config = config
        self.n_photos = n_photos
        self.device = device
        self.steps_per_epoch = -(-n_photos // config.train.batch_size)
        self.total_steps = self.steps_per_epoch * config.train.epochs
        self._order: tuple[int, Tensor] | None = None

    def batch(self, step: int) -> Tensor:
        """Indices of the photos of one step; an epoch's last batch may be smaller.

        The order of an epoch depends only on seed and epoch, so any step can be played again.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            rng = make_rng("cpu", self.config.train.seed, "order", epoch)
            permutation = torch.randperm(self.n_photos, generator=rng)
            self._order = (epoch, permutation.to(self.device))
        size = self.config.train.batch_size
        return self._order[1][position * size : (position + 1) * size]

    def epoch_of(self, done: int) -> int:
        """The epoch (from 1) that the last of `done` steps belongs to; 0 before the first."""
        return -(-done // self.steps_per_epoch)

    def grid_due(self, done: int) -> bool:
        """Whether a fixed-noise grid belongs to this number of steps done: 0, every interval,
        and beside each score."""
        return done % self.config.train.grid_every_steps == 0 or self.eval_due(done)

    def log_due(self, done: int) -> bool:
        """Whether the losses are read back now: every interval, each epoch's end, the end."""
        return done % self.config.train.log_every_steps == 0 or done % self.steps_per_epoch == 0

    def read_back_due(self, done: int) -> bool:
        """Whether anything is due before which the losses are read back."""
        due = (self.log_due, self.grid_due, self.eval_due, self.checkpoint_due)
        return any(kind(done) for kind in due)

    def eval_due(self, done: int) -> bool:
        """Whether the run is scored now: every so many whole epochs, and at the end."""
        every = self.config.eval.every_epochs
        epoch, rest = divmod(done, self.steps_per_epoch)
        return done == self.total_steps or (every > 0 and rest == 0 and epoch % every == 0)

    def checkpoint_due(self, done: int) -> bool:
        """Whether a checkpoint is written now: every so many whole epochs, and at the end."""
        epoch, rest = divmod(done, self.steps_per_epoch)
        every = self.config.train.checkpoint_every_epochs
        return done == self.total_steps or (rest == 0 and epoch % every == 0)
