"""Several processes, started by `torchrun`, that train one model on shares of every batch.

DistributedDataParallel does not support a step that runs D three times, once with frozen weights.
`Peers` averages the gradients once for each update instead.

All processes hold the same weights and draw the same random numbers for the whole batch. The number
of processes changes only rounding and BatchNorm, which uses the statistics of each share.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dcgan.errors import UsageError
from dcgan.training.schedule import Schedule


class Peers:
    """One of `size` processes that train together. Alone, no method does anything."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    def share(self, batch: Tensor) -> Tensor:
        """This process's consecutive rows of a batch; shares differ by at most one row."""
        return batch if self.size == 1 else batch.tensor_split(self.size)[self.rank]

    @torch.no_grad()
    def average_gradients(self, network: nn.Module, loss: Tensor, part: float) -> Tensor:
        """Replace the gradients of a share's mean loss by those of the whole batch's mean loss.

        Returns the mean loss of the whole batch, detached; it is not finite if any share's is not.
        `loss` is the mean loss of this share, `part` the share's fraction of the whole batch.
        """
        if self.size == 1:
            return loss.detach()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        flat = torch.cat([*(gradient.flatten() for gradient in gradients), loss.view(1)])
        sizes = [gradient.numel() for gradient in gradients]
        averages = self.average(flat, part)[:-1].split(sizes)
        for gradient, values in zip(gradients, averages, strict=True):
            gradient.copy_(values.view(gradient.shape))
        return flat[-1]

    def average(self, values: Tensor, part: float) -> Tensor:
        """Means over the whole batch from the means over a share, which are overwritten."""
        if self.size > 1:
            dist.all_reduce(values.mul_(part))
        return values

    def agree(self, asked: bool, device: torch.device) -> bool:
        """Whether any process asks to stop. Every process must call this at the same step."""
        if self.size == 1:
            return asked
        votes = torch.tensor(float(asked), device=device)
        dist.all_reduce(votes)
        return bool(votes > 0)

    def check_same_start(self, step: int, fingerprint: str, device: torch.device) -> None:
        """Raise `UsageError` unless all processes have done `step` steps with the same photos.

        `fingerprint` is that of the photos, in hexadecimal.
        """
        if self.size == 1:
            return
        starts = torch.zeros(2, self.size, dtype=torch.float64, device=device)
        # 48 bits of the fingerprint are an exact float64
        starts[:, self.rank] = torch.tensor([step, int(fingerprint[:12], 16)], dtype=torch.float64)
        dist.all_reduce(starts)
        steps, photos = (bool((row != row[0]).any()) for row in starts)
        if photos:
            raise UsageError("the processes do not see the same photos; give all the same --data")
        if steps:
            raise UsageError(
                "the processes do not continue from the same checkpoint; --out must be one folder "
                "that all of them see"
            )

    def check_shares(self, schedule: Schedule) -> None:
        """Raise `UsageError` if a batch has fewer photos than there are processes."""
        batch_size = schedule.config.train.batch_size
        tail = schedule.n_photos % batch_size
        for size, what in ((batch_size, "a batch"), (tail, "an epoch's last batch")):
            if 0 < size < self.size:
                raise UsageError(
                    f"{what} has {size} photos for {self.size} processes; start fewer, or change "
                    "train.batch_size"
                )


ALONE = Peers()


@contextmanager
def torchrun_peers(device: str) -> Iterator[Peers]:
    """The processes that `torchrun` started, each with its own GPU; `ALONE` without `torchrun`.

    `device` is `train.device`. Raises `UsageError` if there are more processes than GPUs.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or "RANK" not in os.environ:
        yield ALONE
        return
    on_gpu = device in ("auto", "cuda") and torch.cuda.is_available()
    if on_gpu:
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise UsageError(
                f"torchrun started more processes than there are GPUs "
                f"({torch.cuda.device_count()}); lower --nproc-per-node"
            )
        torch.cuda.set_device(local)
    # The timeout is long because the other processes wait while the first one scores.
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=timedelta(hours=2))
    try:
        yield Peers(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()
