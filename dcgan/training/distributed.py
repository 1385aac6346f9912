"""Several processes that train one model together, each on its share of every batch.

Started by `torchrun`. DistributedDataParallel is not used: a step runs D three times and once with
frozen weights, which its hooks do not expect. Here gradients are averaged by hand, once an update.

All processes hold the same weights and draw the same random numbers for the whole batch, then keep
their share. So a checkpoint says nothing of the number of processes, and only two things depend on
it: BatchNorm, which normalises by the statistics of a process's own share, and rounding.
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
    """A process among `size` that train together. With one, every method does nothing."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    def share(self, batch: Tensor) -> Tensor:
        """This process's rows of a batch: consecutive, sizes differ by at most one."""
        return batch if self.size == 1 else batch.tensor_split(self.size)[self.rank]

    @torch.no_grad()
    def average_gradients(self, network: nn.Module, loss: Tensor, part: float) -> Tensor:
        """Turn the gradients of a share's mean loss into those of the whole batch's, everywhere.

        Args:
            network: whose parameters' gradients are replaced.
            loss: this share's mean loss.
            part: of the whole batch that is this process's share.

        Returns:
            The whole batch's mean loss, detached: not finite if any process's was not.
        """
        if self.size == 1:
            return loss.detach()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        flat = torch.cat([*(gradient.flatten() for gradient in gradients), loss.view(1)])
        dist.all_reduce(flat.mul_(part))
        for gradient, values in zip(
            gradients, flat[:-1].split([g.numel() for g in gradients]), strict=True
        ):
            gradient.copy_(values.view(gradient.shape))
        return flat[-1]

    def average(self, values: Tensor, part: float) -> Tensor:
        """Means over the whole batch from the means over each process's share."""
        if self.size > 1:
            dist.all_reduce(values.mul_(part))
        return values

    def agree(self, asked: bool, device: torch.device) -> bool:
        """Whether any process asks for something; every process must call it at the same step."""
        if self.size == 1:
            return asked
        votes = torch.tensor(float(asked), device=device)
        dist.all_reduce(votes)
        return bool(votes > 0)

    def check_same_start(self, step: int, fingerprint: str, device: torch.device) -> None:
        """Refuse to go on from different checkpoints or with different photos.

        Args:
            step: steps done.
            fingerprint: of the photos, hexadecimal.

        Raises:
            UsageError: says what to change.
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
        """Refuse batches with fewer photos than processes.

        Raises:
            UsageError: says what to change.
        """
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
    """The processes that `torchrun` started this one with; `ALONE` without it.

    Args:
        device: the config's `train.device`. Each process gets a GPU of its own.

    Raises:
        UsageError: more processes than GPUs.
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
    # patient, since the others wait while the first one scores
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=timedelta(hours=2))
    try:
        yield Peers(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()
