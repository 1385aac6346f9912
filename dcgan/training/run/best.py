"""`best.pt`: the checkpoint of a run's best evaluation so far.

It is a hard link of `checkpoint.pt` until a later checkpoint replaces that name, so a run keeps two
checkpoints at most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from dcgan.errors import CheckpointError, first_line
from dcgan.evaluation.record import EvalRecord
from dcgan.runtime.files import link_atomic
from dcgan.training.run.checkpoint import load_checkpoint
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import read_evals

Rank: TypeAlias = Callable[[EvalRecord], float]
"""What is lowest for the best evaluation; a finite number."""


def by_distance(record: EvalRecord) -> float:
    """The Fréchet distance of the generator that counts."""
    return record.frechet


class Best:
    """The best evaluation of a run among those whose checkpoint was kept; ties: the earliest."""

    def __init__(self, folder: RunFolder, rank: Rank) -> None:
        self.folder, self.rank = folder, rank
        self.record: EvalRecord | None = None
        """The evaluation of the checkpoint in `best.pt`; None before the first."""

    def consider(self, record: EvalRecord) -> None:
        """Keep the saved checkpoint, which is this evaluation's, if that is the best so far.

        Raises `CheckpointError` if it cannot be kept.
        """
        if self.record is not None and self.rank(record) >= self.rank(self.record):
            return
        try:
            link_atomic(self.folder.checkpoint, self.folder.best)
        except OSError as error:
            reason = error.strerror or first_line(error)
            path = self.folder.best
            raise CheckpointError(f"cannot write the checkpoint {path}: {reason}") from error
        self.record = record

    def resume(self, step: int) -> None:
        """Find the best evaluation again, for a run that continues from its checkpoint of `step`.

        Only the evaluations of `best.pt` and `checkpoint.pt` can be it. If a crash came between a
        checkpoint and its link, the link is made now.
        """
        scored = {record.step: record for record in read_evals(self.folder.history)}
        self.record = scored.get(self._kept_step(step))
        if step in scored:
            self.consider(scored[step])

    def _kept_step(self, step: int) -> int:
        """The step of `best.pt`; -1 if it is missing or damaged."""
        best = self.folder.best
        if best.is_file() and best.samefile(self.folder.checkpoint):
            return step
        try:
            return load_checkpoint(best).step
        except CheckpointError:
            return -1

    def notes(self, scored: Sequence[EvalRecord]) -> tuple[str, ...]:
        """A sentence if one of the run's evaluations was better than that of `best.pt`."""
        better = min(scored, key=self.rank, default=self.record)
        if not (better and self.record and self.rank(better) < self.rank(self.record)):
            return ()
        return (
            f"epoch {better.epoch} scored better than epoch {self.record.epoch}, whose checkpoint "
            f"is {self.folder.best}, but its own checkpoint is not there any more",
        )
