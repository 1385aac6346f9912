"""What a training step promises besides its losses: no-ops after a failure, no read-backs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from dcgan.data.bank import PhotoBank, load_bank
from dcgan.training.losses import bce_if_fake, bce_if_real
from dcgan.training.run.history import STEP_FIELDS
from dcgan.training.step import TrainState, training_step

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bank(tiny_config) -> PhotoBank:
    return load_bank(tiny_config().data)


@pytest.fixture(params=["fp32", "bf16"])
def config(tiny_config, request: pytest.FixtureRequest):
    return tiny_config(train__precision=request.param)


@pytest.fixture
def trained(config, bank: PhotoBank) -> TrainState:
    state = TrainState.fresh(config, CPU)
    for _ in range(3):
        training_step(state, bank.images[:16], config)
    return state


def weights(state: TrainState) -> dict[str, Tensor]:
    """Every trained value, and everything the optimizers keep."""
    kept: dict[str, Tensor] = {}
    for name in ("generator", "discriminator", "ema"):
        for key, value in getattr(state, name).named_parameters():
            kept[f"{name}.{key}"] = value.detach().clone()
    for name in ("optimizer_g", "optimizer_d"):
        for index, entry in getattr(state, name).state_dict()["state"].items():
            for key, value in entry.items():
                kept[f"{name}.{index}.{key}"] = value.clone()
    return kept


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> list[str]:
    assert before.keys() == after.keys()
    return [key for key in before if not torch.equal(before[key], after[key])]


def test_a_step_changes_everything(trained: TrainState, config, bank: PhotoBank) -> None:
    before = weights(trained)
    losses = training_step(trained, bank.images[16:32], config)
    assert set(changed(before, weights(trained))) == set(before)
    assert losses.shape == (len(STEP_FIELDS),)
    assert losses.dtype == torch.float32
    assert not losses.requires_grad
    assert bool(losses.isfinite().all())
    assert (trained.step, trained.images_seen) == (4, 64)
    assert float(trained.failed) == 0


def test_adam_counts_its_steps(trained: TrainState) -> None:
    for optimizer in (trained.optimizer_g, trained.optimizer_d):
        assert {float(entry["step"]) for entry in optimizer.state.values()} == {3.0}


def poison(state: TrainState, network: str, value: float) -> None:
    """Make the losses of every later step non-finite."""
    convolutions = [w for w in getattr(state, network).parameters() if w.ndim == 4]
    with torch.no_grad():
        # The last kernel of D, or an input channel of G's second.
        (convolutions[-1] if network == "discriminator" else convolutions[1])[0] = value


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
@pytest.mark.parametrize("network", ["discriminator", "generator"])
def test_a_non_finite_loss_changes_no_weight(
    trained: TrainState, config, bank: PhotoBank, network: str, value: float
) -> None:
    poison(trained, network, value)
    before = weights(trained)
    for _ in range(3):
        losses = training_step(trained, bank.images[:16], config)
        assert not bool(losses[:2].isfinite().all())
        # The average of a generator that is broken itself is the next test's matter.
        allowed = {"ema.3.weight"} if network == "generator" else set()
        assert set(changed(before, weights(trained))) <= allowed
        assert float(trained.failed) == 1


def test_a_failure_lasts(trained: TrainState, config, bank: PhotoBank) -> None:
    """Steps after the failed one change nothing even where their own losses are finite."""
    last = [w for w in trained.discriminator.parameters() if w.ndim == 4][-1]
    healthy = last.detach().clone()
    with torch.no_grad():
        last.fill_(float("inf"))
    training_step(trained, bank.images[:16], config)
    with torch.no_grad():
        last.copy_(healthy)
    before = weights(trained)
    losses = training_step(trained, bank.images[:16], config)
    assert bool(losses.isfinite().all())
    assert changed(before, weights(trained)) == []


def test_a_non_finite_loss_of_g_changes_no_weight_of_g(
    trained: TrainState, config, bank: PhotoBank
) -> None:
    """D's own loss is finite, so its update stands; G's, and all later ones, do not happen."""
    trained.optimizer_d.param_groups[0]["lr"] = 1e38
    before = weights(trained)
    losses = training_step(trained, bank.images[:16], config)
    assert bool(losses[0].isfinite())
    assert not bool(losses[1].isfinite())
    moved = changed(before, weights(trained))
    assert moved
    assert all(name.startswith(("discriminator.", "optimizer_d.")) for name in moved)
    after = weights(trained)
    training_step(trained, bank.images[:16], config)
    assert [key for key in changed(after, weights(trained)) if after[key].isfinite().all()] == []


def test_the_step_of_g_leaves_d_alone(trained: TrainState, config, bank: PhotoBank) -> None:
    """Between D's update and the end of the step, D's weights and gradients stay."""
    seen: dict[str, Any] = {}

    def after_d(*_: object) -> None:
        seen["weights"] = [w.detach().clone() for w in trained.discriminator.parameters()]
        seen["gradients"] = [w.grad.clone() for w in trained.discriminator.parameters()]

    hook = trained.optimizer_d.register_step_post_hook(after_d)
    training_step(trained, bank.images[:16], config)
    hook.remove()
    now = list(trained.discriminator.parameters())
    assert all(torch.equal(a, b) for a, b in zip(seen["weights"], now, strict=True))
    assert all(torch.equal(a, b.grad) for a, b in zip(seen["gradients"], now, strict=True))
    assert all(w.requires_grad for w in now)
    assert all(w.requires_grad for w in trained.generator.parameters())
    assert not any(w.requires_grad for w in trained.ema.parameters())


READ_BACKS = (
    "item",
    "tolist",
    "cpu",
    "numpy",
    "nonzero",
    "__bool__",
    "__float__",
    "__int__",
    "__index__",
)


class NoReadBacks(TorchFunctionMode):
    """Refuses what waits for a device."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(function, "__name__", "") in READ_BACKS:
            raise AssertionError("the step read a value back from the device")
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("augmented", [True, False])
def test_nothing_is_read_back_from_the_device(
    tiny_config, bank: PhotoBank, augmented: bool
) -> None:
    everything = {
        "augment__rotation_degrees": 10,
        "augment__hue": 0.1,
        "augment__flip": 0.5,
    }
    nothing = {
        "augment__brightness": 0,
        "augment__saturation": 0,
        "augment__blur_sigma": 0,
    }
    config = tiny_config(**(everything if augmented else nothing))
    state = TrainState.fresh(config, CPU)
    with NoReadBacks():
        for read in (bool, float, Tensor.item, Tensor.cpu, Tensor.numpy, Tensor.tolist):
            with pytest.raises(AssertionError, match="read a value back"):
                read(state.failed)  # the trap works
        rows = [training_step(state, bank.images[:size], config) for size in (16, 16, 8)]
    assert bool(torch.stack(rows).isfinite().all())
    assert state.images_seen == 40


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_no_synchronisation_on_a_gpu(tiny_config, bank: PhotoBank) -> None:
    config = tiny_config(train__device="cuda", augment__rotation_degrees=10, augment__hue=0.1)
    state = TrainState.fresh(config, torch.device("cuda"))
    photos = bank.images.cuda()
    training_step(state, photos[:16], config)
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses = [training_step(state, photos[:16], config) for _ in range(3)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert bool(torch.stack(losses).isfinite().all())


def test_losses_are_bce_without_its_clamp() -> None:
    logits = torch.tensor([-3.0, 0.0, 5.0], dtype=torch.float64)
    p = torch.sigmoid(logits)
    bce = torch.nn.functional.binary_cross_entropy
    torch.testing.assert_close(bce_if_real(logits), bce(p, torch.ones_like(p)))
    torch.testing.assert_close(bce_if_fake(logits), bce(p, torch.zeros_like(p)))
    far = torch.tensor([-200.0])
    torch.testing.assert_close(bce_if_real(far), torch.tensor(200.0))  # BCELoss stops at 100
    torch.testing.assert_close(bce_if_fake(-far), torch.tensor(200.0))


def test_the_streams_do_not_touch_the_global_one(
    trained: TrainState, config, bank: PhotoBank
) -> None:
    before = torch.random.get_rng_state()
    training_step(trained, bank.images[:16], config)
    assert torch.equal(before, torch.random.get_rng_state())


def test_augmentation_does_not_change_the_noise(tiny_config, bank: PhotoBank) -> None:
    states = []
    for rotation in (0, 10):
        config = tiny_config(augment__rotation_degrees=rotation)
        state = TrainState.fresh(config, CPU)
        training_step(state, bank.images[:16], config)
        states.append((state.noise_rng.get_state(), state.augment_rng.get_state()))
    assert torch.equal(states[0][0], states[1][0])
    assert torch.equal(states[0][1], states[1][1])
