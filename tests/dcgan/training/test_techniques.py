"""Runs and steps with the techniques of docs/recipes.md: against plain loops, and resumed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig
from dcgan.data import diff_augment
from dcgan.data.bank import PhotoBank, load_bank
from dcgan.data.pixels import to_signed, to_unit
from dcgan.errors import CheckpointError, TrainingInterrupted
from dcgan.models.networks import sample_noise
from dcgan.runtime.numerics import numerics
from dcgan.training.loop import train
from dcgan.training.run.checkpoint import check_continues, load_checkpoint
from dcgan.training.step import TrainState, training_step

CPU = torch.device("cpu")
Maker = Callable[..., TrainConfig]
TECHNIQUES: dict[str, Any] = {
    "augment__diff_translation": 0.8,
    "augment__diff_colour": 0.5,
    "augment__diff_cutout": 0.5,
    "model__upsample": "nearest",
    "loss__kind": "hinge",
    "optim__decay_fraction": 0.5,
}
PROJECTED: dict[str, Any] = {
    "model__discriminator": "projected",
    "projected__side": 64,
    "projected__channels": 6,
    "projected__width": 5,
}
OFF = {"augment__brightness": 0, "augment__saturation": 0, "augment__blur_sigma": 0}
KINDS = {"dcgan": TECHNIQUES, "projected": TECHNIQUES | PROJECTED}


@pytest.fixture(scope="module")
def bank(tiny_config: Maker) -> PhotoBank:
    return load_bank(tiny_config().data)


@pytest.fixture(params=KINDS)
def config(tiny_config: Maker, request: pytest.FixtureRequest) -> TrainConfig:
    return tiny_config(**KINDS[request.param], **OFF, train__epochs=6)


def stop_after(steps: int) -> Callable[[], bool]:
    left = [steps]

    def should_stop() -> bool:
        left[0] -= 1
        return left[0] == 0

    return should_stop


def plain_adam(network: torch.nn.Module, lr: float, config: TrainConfig) -> Any:
    return torch.optim.Adam(
        network.parameters(), lr=lr, betas=(config.optim.beta1, config.optim.beta2), foreach=False
    )


def plain_step(state: TrainState, photos: Tensor, config: TrainConfig) -> None:
    """A step written out: torch's own Adam and hinge; D looks anew at the fakes for G's update."""
    generator, discriminator = state.generator, state.discriminator
    real = to_signed(to_unit(photos))
    noise = sample_noise(len(photos), config.model.nz, state.noise_rng)
    for_real = diff_augment.draw(len(photos), state.diff_rng)
    for_fakes = diff_augment.draw(len(photos), state.diff_rng)
    fakes = generator(noise)
    changed = diff_augment.diff_augment(real, config.augment, for_real)
    loss_d = F.relu(1 - discriminator(changed)).mean()
    shown = diff_augment.diff_augment(fakes, config.augment, for_fakes)
    loss_d = loss_d + F.relu(1 + discriminator(shown.detach())).mean()
    state.optimizer_d.zero_grad()
    loss_d.backward()
    state.optimizer_d.step()
    state.optimizer_g.zero_grad()
    (-discriminator(shown).mean()).backward()
    state.optimizer_g.step()


def test_a_step_is_the_plain_one(config: TrainConfig, bank: PhotoBank) -> None:
    with numerics(config.train):
        state, other = TrainState.fresh(config, CPU), TrainState.fresh(config, CPU)
        other.optimizer_d = plain_adam(other.discriminator, config.optim.lr_d, config)
        other.optimizer_g = plain_adam(other.generator, config.optim.lr_g, config)
        for number in range(3):
            photos = bank.images[16 * number :][:16]
            training_step(state, photos, config)
            plain_step(other, photos, config)
    for name in ("discriminator", "generator"):
        for mine, theirs in zip(
            getattr(state, name).parameters(), getattr(other, name).parameters(), strict=True
        ):
            torch.testing.assert_close(mine, theirs, rtol=0.02, atol=2e-4)


@pytest.mark.parametrize("factor", [1.0, 0.25])
def test_a_learning_rate_scales_adams_update(tiny_config: Maker, factor: float) -> None:
    config = tiny_config(optim__decay_fraction=0.5)
    state = TrainState.fresh(config, CPU)
    before = copy.deepcopy(list(state.discriminator.parameters()))
    state.set_learning_rates(config, factor)
    for value in state.discriminator.parameters():
        value.grad = torch.full_like(value, 0.3)
    state.optimizer_d.step()
    # The first update of Adam is the learning rate, whatever the gradient's size.
    for old, new in zip(before, state.discriminator.parameters(), strict=True):
        torch.testing.assert_close(old - new, torch.full_like(old, factor * config.optim.lr_d))


def test_stopped_and_resumed_bit_for_bit(
    config: TrainConfig, bank: PhotoBank, tmp_path: Path
) -> None:
    straight, parts = tmp_path / "straight", tmp_path / "parts"
    train(config, straight, bank=bank)
    with pytest.raises(TrainingInterrupted):
        train(config, parts, bank=bank, should_stop=stop_after(11))
    train(config, parts, bank=bank, resume=True)
    one, other = (torch.load(it / "checkpoint.pt", weights_only=True) for it in (straight, parts))
    assert torch.equal(one["losses"], other["losses"])
    for name in ("generator", "discriminator", "ema"):
        assert one[name].keys() == other[name].keys()
        for key, value in one[name].items():
            assert torch.equal(value, other[name][key]), (name, key)
    assert torch.equal(one["diff_rng"], other["diff_rng"])
    assert one["optimizer_g"]["param_groups"][0]["lr"] == pytest.approx(config.optim.lr_g / 9)


def test_a_checkpoint_without_the_new_stream_continues(
    tiny_config: Maker, bank: PhotoBank, tmp_path: Path
) -> None:
    """As releases before DiffAugment wrote it."""
    config = tiny_config()
    train(config, tmp_path / "straight", bank=bank)
    with pytest.raises(TrainingInterrupted):
        train(config, tmp_path / "parts", bank=bank, should_stop=stop_after(5))
    path = tmp_path / "parts" / "checkpoint.pt"
    content = torch.load(path, weights_only=True)
    del content["diff_rng"]
    torch.save(content, path)
    train(config, tmp_path / "parts", bank=bank, resume=True)
    losses = [
        load_checkpoint(tmp_path / it / "checkpoint.pt").losses for it in ("straight", "parts")
    ]
    assert torch.equal(*losses)


def test_the_learning_rate_is_a_number_in_a_checkpoint_of_a_gpu(tiny_config: Maker) -> None:
    """There it is a tensor on the GPU, which `torch.load` brings to the CPU."""
    config = tiny_config(optim__decay_fraction=0.5)
    state = TrainState.fresh(config, CPU)
    content = state.state_dict()
    for name in ("optimizer_g", "optimizer_d"):
        content[name]["param_groups"][0]["lr"] = torch.tensor(1e-5)
    state.load_state_dict(content)
    for optimizer in (state.optimizer_g, state.optimizer_d):
        assert isinstance(optimizer.param_groups[0]["lr"], float)


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_what_stops_the_weights_stops_the_run(
    config: TrainConfig, bank: PhotoBank, network: str
) -> None:
    """A hinge of logits that are all +inf is finite or −inf; the kept losses must say so."""
    with numerics(config.train):
        state = TrainState.fresh(config, CPU)
        training_step(state, bank.images[:16], config)
        with torch.no_grad():
            [w for w in getattr(state, network).parameters() if w.ndim == 4][-1].fill_(3e38)
        for _ in range(3):
            broken = float(state.failed)
            losses = training_step(state, bank.images[:16], config)
            assert broken == 1 or bool(losses[:2].isfinite().all()) == (float(state.failed) == 0)


def test_fewer_epochs_without_a_decay(tiny_config: Maker, bank: PhotoBank, tmp_path: Path) -> None:
    train(tiny_config(train__epochs=3), tmp_path, bank=bank)
    result = train(tiny_config(train__epochs=2), tmp_path, bank=bank, resume=True)
    assert result.steps == 9


@pytest.mark.parametrize(
    ("fraction", "before", "now", "steps"), [(0.9, 10, 11, 3), (0.25, 6, 8, 13)]
)
def test_other_epochs_are_fine_until_the_rates_fall(
    tiny_config: Maker,
    bank: PhotoBank,
    tmp_path: Path,
    fraction: float,
    before: int,
    now: int,
    steps: int,
) -> None:
    config = tiny_config(optim__decay_fraction=fraction, train__epochs=before)
    with pytest.raises(TrainingInterrupted):
        train(config, tmp_path, bank=bank, should_stop=stop_after(steps))
    checkpoint = load_checkpoint(tmp_path / "checkpoint.pt")
    longer = override(config, {"train.epochs": now})
    check_continues(checkpoint, longer, checkpoint.data_fingerprint, 40)


def test_other_epochs_may_not_contradict_a_decay(
    tiny_config: Maker, bank: PhotoBank, tmp_path: Path
) -> None:
    config = tiny_config(optim__decay_fraction=0.5, train__epochs=6)
    with pytest.raises(TrainingInterrupted):
        train(config, tmp_path, bank=bank, should_stop=stop_after(7))
    path = tmp_path / "checkpoint.pt"
    early = path.read_bytes()
    with pytest.raises(TrainingInterrupted):  # nothing has fallen yet
        train(
            override(config, {"train.epochs": 7}),
            tmp_path,
            bank=bank,
            resume=True,
            should_stop=stop_after(1),
        )
    path.write_bytes(early)
    with pytest.raises(TrainingInterrupted):
        train(config, tmp_path, bank=bank, resume=True, should_stop=stop_after(4))
    with pytest.raises(CheckpointError, match=r"learning rates fall over the last 50%.*epochs=6"):
        train(override(config, {"train.epochs": 12}), tmp_path, bank=bank, resume=True)
    train(config, tmp_path, bank=bank, resume=True)
