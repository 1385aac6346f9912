"""Training steps as CUDA graphs: recorded once for each batch size, then replayed.

A step consists of hundreds of small kernels, and launching one can take longer than running it. A
graph launches all of them at once (Gray 2019, "Getting Started with CUDA Graphs").
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dcgan.config.train_config import TrainConfig
from dcgan.errors import first_line
from dcgan.training.step import STREAMS, TrainState, update

EAGER_STEPS = 2
"""Steps of each batch size before its recording; they choose algorithms and allocate memory."""


@dataclass
class Recording:
    """The recorded step of one batch size. Its tensors are on the device."""

    indices: Tensor
    """int64 `(B,)`: the photos of the step."""
    average_weight: Tensor
    """float32 `()`: see `update`."""
    losses: Tensor
    """float32 `(5,)`, overwritten by each replay."""
    replay: Callable[[], None]


def record_graph(
    body: Callable[[], Tensor], rngs: Sequence[torch.Generator]
) -> tuple[Tensor, Callable[[], None]]:
    """Record what `body` does on the GPU without executing it.

    Returns the tensor that `body` returned, which each replay overwrites, and the replay. `rngs`
    are the random streams that `body` draws from; a replay advances them as `body` would. Raises
    `RuntimeError` if a graph cannot hold an operation of `body`.
    """
    graph = torch.cuda.CUDAGraph()
    for rng in rngs:
        graph.register_generator_state(rng)
    before = torch.cuda.current_stream()
    try:
        with torch.cuda.graph(graph):
            result = body()
    finally:  # a failed recording leaves its own stream current
        torch.cuda.set_stream(before)
    return result, graph.replay


class Stepper:
    """Takes training steps; replays a graph on a GPU if `train.cuda_graphs` is set.

    The first steps of a batch size run eagerly and count as steps of the run. If recording fails,
    a warning says so, and all later steps run eagerly. `photos` are uint8 `(N, 3, S, S)` on the
    state's device; they are neither copied nor changed.
    """

    def __init__(self, state: TrainState, photos: Tensor, config: TrainConfig) -> None:
        self.state, self.photos, self.config = state, photos, config
        fit = photos.is_cuda and config.train.cuda_graphs and state.peers.size == 1
        self.record = record_graph if fit else None
        self._eager_steps = Counter[int]()
        self._recordings: dict[int, Recording] = {}

    def step(self, indices: Tensor) -> Tensor:
        """Take one step on `photos[indices]`, with int64 `(B,)` indices on the device.

        Returns float32 `(5,)` in the order of `STEP_FIELDS`, on the device.
        """
        size = len(indices)
        weight = self.state.count(size, self.config)
        recording = self._recordings.get(size) or self._record(indices)
        if recording is None:
            self._eager_steps[size] += 1
            return self._body(indices, weight)
        recording.indices.copy_(indices)
        recording.average_weight.fill_(weight)
        recording.replay()
        return recording.losses.clone()

    def _body(self, indices: Tensor, average_weight: float | Tensor) -> Tensor:
        return update(self.state, self.photos[indices], average_weight, self.config)

    def _record(self, indices: Tensor) -> Recording | None:
        if self.record is None or self._eager_steps[len(indices)] < EAGER_STEPS:
            return None
        kept, weight = indices.clone(), torch.zeros((), device=indices.device)
        streams = {name: getattr(self.state, name) for name in STREAMS}
        before = {name: rng.get_state() for name, rng in streams.items()}
        try:
            losses, replay = self.record(lambda: self._body(kept, weight), list(streams.values()))
        except RuntimeError as error:
            self.record = None
            self._recordings.clear()  # they draw from the old random streams
            for optimizer in (self.state.optimizer_g, self.state.optimizer_d):
                optimizer.zero_grad(set_to_none=True)  # they belong to the failed graph
            for name, rng in streams.items():  # the graph does not release the old ones
                fresh = torch.Generator(rng.device)
                fresh.set_state(before[name])
                setattr(self.state, name, fresh)
            warnings.warn(
                f"steps cannot be recorded as CUDA graphs here ({first_line(error)}); they run "
                "one kernel after the other, which is slower",
                stacklevel=2,
            )
            return None
        recording = Recording(kept, weight, losses, replay)
        self._recordings[len(indices)] = recording
        return recording
