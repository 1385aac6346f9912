"""Steps that are recorded once and replayed: the same numbers as steps that are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dcgan.config.settings import override
from dcgan.data.bank import load_bank
from dcgan.runtime.numerics import numerics
from dcgan.training.cuda_graphs import EAGER_STEPS, Stepper, record_graph
from dcgan.training.schedule import Schedule
from dcgan.training.step import STREAMS, TrainState, training_step, update

CPU = torch.device("cpu")
STEPS = 14  # of 40 photos in batches of 16: two whole ones and a tail of 8, again and again


def record_on_cpu(body: Callable[[], Tensor], rngs: Any) -> tuple[Tensor, Callable[[], None]]:
    """What a graph promises, on a CPU: recording does nothing, a replay fills the same tensor."""
    result = torch.full((5,), torch.nan)

    def replay() -> None:
        result.copy_(body())

    return result, replay


def train(config: Any, device: torch.device, *, stepper: bool, record: Any = None) -> Any:
    """Losses `(STEPS, 5)`, all weights, and the stepper."""
    photos = load_bank(config.data).images.to(device)
    schedule = Schedule(config, len(photos), device)
    state = TrainState.fresh(config, device)
    steps = Stepper(state, photos, config)
    steps.record = record or steps.record
    losses = []
    with numerics(config.train):
        for step in range(STEPS):
            indices = schedule.batch(step)
            losses.append(
                steps.step(indices) if stepper else training_step(state, photos[indices], config)
            )
    weights = [p for name in ("generator", "discriminator", "ema") for p in tensors(state, name)]
    assert (state.step, state.images_seen) == (
        STEPS,
        sum(len(schedule.batch(s)) for s in range(STEPS)),
    )
    return torch.stack(losses), weights, steps


def tensors(state: TrainState, name: str) -> list[Tensor]:
    return list(getattr(state, name).state_dict().values())


@pytest.fixture
def config(tiny_config):
    return tiny_config(
        augment__rotation_degrees=10, augment__hue=0.1, augment__flip=0.5, data__toy_count=40
    )


@pytest.mark.parametrize("record", [None, record_on_cpu])
def test_a_stepper_does_what_steps_do(config, record) -> None:
    losses, weights, _ = train(config, CPU, stepper=False)
    ours, our_weights, steps = train(config, CPU, stepper=True, record=record)
    assert torch.equal(losses, ours)
    assert all(map(torch.equal, weights, our_weights))
    assert sorted(steps._recordings) == ([8, 16] if record else [])


def test_the_first_steps_of_each_size_are_not_recorded(config) -> None:
    recorded: list[int] = []

    def record(body: Callable[[], Tensor], rngs: Any) -> Any:
        recorded.append(steps.state.step)
        return record_on_cpu(body, rngs)

    photos = load_bank(config.data).images
    steps = Stepper(TrainState.fresh(config, CPU), photos, config)
    steps.record = record
    for _ in range(EAGER_STEPS + 2):
        steps.step(torch.arange(16))
    for _ in range(EAGER_STEPS + 2):
        steps.step(torch.arange(8))
    assert recorded == [EAGER_STEPS + 1, EAGER_STEPS + 2 + EAGER_STEPS + 1]


def test_where_recording_fails_steps_go_on_with_one_warning(config) -> None:
    def refuse(body: Callable[[], Tensor], rngs: Any) -> Any:
        for rng in rngs:
            torch.randn(3, generator=rng)
        raise RuntimeError("operation not permitted when stream is capturing\nand much more")

    losses, weights, _ = train(config, CPU, stepper=False)
    with pytest.warns(UserWarning, match=r"cannot be recorded .*capturing\); they run") as caught:
        ours, our_weights, _ = train(config, CPU, stepper=True, record=refuse)
    assert len(caught) == 1
    assert torch.equal(losses, ours)
    assert all(map(torch.equal, weights, our_weights))


def test_a_recording_that_fails_ends_the_others(config) -> None:
    """A graph draws from the streams that it was recorded with: all must be the state's own."""

    def record(body: Callable[[], Tensor], rngs: Any) -> Any:
        if len(steps._recordings) == 1:
            raise RuntimeError("out of memory")
        streams = dict(zip(STREAMS, rngs, strict=True))
        result, replay = record_on_cpu(body, rngs)

        def replay_with_its_own() -> None:
            for name, rng in streams.items():
                assert getattr(steps.state, name) is rng
            replay()

        return result, replay_with_its_own

    losses, weights, _ = train(config, CPU, stepper=False)
    photos = load_bank(config.data).images
    state = TrainState.fresh(config, CPU)
    steps = Stepper(state, photos, config)
    steps.record = record
    schedule = Schedule(config, len(photos), CPU)
    with numerics(config.train), pytest.warns(UserWarning, match="cannot be recorded"):
        ours = [steps.step(schedule.batch(step)) for step in range(STEPS)]
    assert torch.equal(torch.stack(ours), losses)
    names = ("generator", "discriminator", "ema")
    our_weights = [value for name in names for value in tensors(state, name)]
    assert all(map(torch.equal, weights, our_weights))
    assert steps._recordings == {}


def test_a_recording_that_fails_half_way_leaves_everything_trainable(config) -> None:
    """As when memory runs out in G's pass through D, whose weights need no gradients then."""
    photos = load_bank(config.data).images
    steps = Stepper(TrainState.fresh(config, CPU), photos, config)

    def fail_in_gs_pass(gradient: Tensor) -> Tensor:
        raise RuntimeError("CUDA error: out of memory")

    def record(body: Callable[[], Tensor], rngs: Any) -> Any:
        weight = next(steps.state.generator.parameters())
        hook = weight.register_hook(fail_in_gs_pass)
        try:
            return body(), lambda: None
        finally:
            hook.remove()

    steps.record = record
    for _ in range(EAGER_STEPS):
        steps.step(torch.arange(16))
    with pytest.warns(UserWarning, match="cannot be recorded"):
        steps.step(torch.arange(16))
    losses = steps.step(torch.arange(16))
    assert bool(losses.isfinite().all())
    assert all(p.requires_grad for p in steps.state.discriminator.parameters())


def test_bfloat16_on_a_cpu_repeats_and_keeps_its_weights_in_float32(config) -> None:
    half = override(config, {"train.precision": "bf16"}, "half")
    losses, weights, _ = train(half, CPU, stepper=True)
    again, weights_again, _ = train(half, CPU, stepper=True)
    full, *_ = train(config, CPU, stepper=True)
    assert losses.dtype == torch.float32
    assert torch.equal(losses, again)
    assert all(map(torch.equal, weights, weights_again))
    assert not torch.equal(losses, full)
    assert {x.dtype for x in weights} == {torch.float32, torch.int64}


def test_only_a_cuda_gpu_records(config) -> None:
    photos = load_bank(config.data).images
    assert Stepper(TrainState.fresh(config, CPU), photos, config).record is None


class _NothingFromTheHost(TorchDispatchMode):
    """Notes operations that read a number back or bring one from the host: no graph holds them."""

    FORBIDDEN = ("_local_scalar_dense", "lift_fresh", "nonzero", "masked_select", "equal", "unique")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::").partition(".")[0]
        self.count += 1
        if name in self.FORBIDDEN:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


def test_a_step_happens_on_the_device_alone(config) -> None:
    state = TrainState.fresh(config, CPU)
    photos = load_bank(config.data).images[:16]
    update(state, photos, 0.5, config)  # Adam's state is made
    with _NothingFromTheHost() as watch:
        update(state, photos, torch.tensor(0.5), config)
        assert watch.count > 100
        assert watch.seen == ["lift_fresh"]  # the tensor of this very test
        photos.sum().item()
        assert "_local_scalar_dense" in watch.seen


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_graph_gives_the_numbers_of_the_steps_it_replaces(config, precision) -> None:
    config = config.model_copy(
        update={"train": config.train.model_copy(update={"precision": precision})}
    )
    cuda = torch.device("cuda")
    losses, weights, _ = train(config, cuda, stepper=False)
    ours, our_weights, steps = train(config, cuda, stepper=True)
    assert steps.record is record_graph
    assert sorted(steps._recordings) == [8, 16]
    assert torch.equal(losses, ours)
    assert all(map(torch.equal, weights, our_weights))
