"""One training step of a DCGAN, and the state that it changes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dcgan.config.train_config import TrainConfig
from dcgan.data import diff_augment
from dcgan.data.augment import augment
from dcgan.data.pixels import to_signed, to_unit
from dcgan.models.ema import ema_weight, update_ema
from dcgan.models.networks import (
    AnyDiscriminator,
    Generator,
    build_networks,
    initialise,
    sample_noise,
)
from dcgan.runtime.lean_torch import Adam
from dcgan.runtime.seeds import make_rng
from dcgan.training.distributed import ALONE, Peers
from dcgan.training.losses import LOSSES, as_bce

STATEFUL = ("generator", "discriminator", "ema", "optimizer_g", "optimizer_d")
STREAMS = ("noise_rng", "augment_rng", "diff_rng")


@dataclass
class TrainState:
    """Everything that a step reads and changes. A checkpoint holds all of it."""

    generator: Generator
    discriminator: AnyDiscriminator
    optimizer_g: Adam
    optimizer_d: Adam
    ema: Generator
    noise_rng: torch.Generator
    augment_rng: torch.Generator
    diff_rng: torch.Generator
    """Of DiffAugment; unused without it."""
    failed: Tensor
    """float32 `()` on the device: 1 after a non-finite loss. No later step changes a weight."""
    step: int = 0
    """The number of steps done."""
    images_seen: int = 0
    peers: Peers = ALONE

    @classmethod
    def fresh(cls, config: TrainConfig, device: torch.device, peers: Peers = ALONE) -> TrainState:
        """Initial networks, the same on every device, and unused random streams."""
        seed = config.train.seed
        generator, discriminator = build_networks(config)
        initialise(generator, make_rng("cpu", seed, "generator"))
        initialise(discriminator, make_rng("cpu", seed, "discriminator"))
        generator, discriminator = generator.to(device), discriminator.to(device)
        failed = torch.zeros((), device=device)
        return cls(
            generator=generator,
            discriminator=discriminator,
            optimizer_g=_adam(generator, config.optim.lr_g, config, failed),
            optimizer_d=_adam(discriminator, config.optim.lr_d, config, failed),
            ema=copy.deepcopy(generator).requires_grad_(False),
            noise_rng=make_rng(device, seed, "noise"),
            augment_rng=make_rng(device, seed, "augment"),
            diff_rng=make_rng(device, seed, "diff_augment"),
            failed=failed,
            peers=peers,
        )

    def state_dict(self) -> dict[str, Any]:
        """The part that a checkpoint keeps: plain data, tensors and dicts of them."""
        parts = {name: getattr(self, name).state_dict() for name in STATEFUL}
        streams = {name: getattr(self, name).get_state() for name in STREAMS}
        return {"step": self.step, "images_seen": self.images_seen, **parts, **streams}

    def load_state_dict(self, content: Mapping[str, Any]) -> None:
        """Load what `state_dict` returned.

        Raises RuntimeError, ValueError, KeyError or TypeError if it does not fit.
        """
        for name in STATEFUL:
            getattr(self, name).load_state_dict(content[name])
        for name in STREAMS:
            if name != "diff_rng" or name in content:  # older checkpoints never used it
                getattr(self, name).set_state(content[name])
        for optimizer in (self.optimizer_g, self.optimizer_d):
            for group in optimizer.param_groups:  # the saved value is that of another device
                group["capturable"] = group["params"][0].is_cuda
                group["lr"] = float(group["lr"])  # `set_learning_rates` makes what is needed here
        self.step, self.images_seen = content["step"], content["images_seen"]

    def set_learning_rates(self, config: TrainConfig, factor: float) -> None:
        """Multiply the config's learning rates by a factor for the next step, if they decay."""
        if config.optim.decay_fraction == 0:
            return
        for optimizer, rate in (
            (self.optimizer_g, config.optim.lr_g),
            (self.optimizer_d, config.optim.lr_d),
        ):
            for group in optimizer.param_groups:
                if not self.failed.is_cuda:
                    group["lr"] = rate * factor
                elif isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate * factor)
                else:  # a CUDA graph would hold a number for ever
                    group["lr"] = torch.full_like(self.failed, rate * factor)

    def count(self, photos: int, config: TrainConfig) -> float:
        """Count a step on this many photos. Returns the weight of its EMA update, in (0, 1]."""
        self.step += 1
        self.images_seen += photos
        return ema_weight(photos, self.images_seen, config.train.ema_half_life_images)


def training_step(state: TrainState, photos: Tensor, config: TrainConfig) -> Tensor:
    """Count and take one step. Arguments and result are those of `update`."""
    return update(state, photos, state.count(len(photos), config), config)


def update(
    state: TrainState, photos: Tensor, average_weight: float | Tensor, config: TrainConfig
) -> Tensor:
    """Update D on real photos and on fakes, then G through the updated D with the same fakes.

    D sees both kinds of images through the same random changes (DiffAugment) and the same fixed
    network (`look`), if the config has them. Its view of the fakes serves both updates.

    Photos are uint8 `(B, 3, S, S)` on the state's device. `average_weight` is the weight of the EMA
    update: a number, or a 0-d tensor on the device. Returns float32 `(5,)`, detached, in the order
    of `STEP_FIELDS`; its losses are binary cross-entropies, whatever `loss.kind` is. Nothing leaves
    the device, so that a CUDA graph can hold the step. After a non-finite loss, this update and all
    later ones do nothing.
    """
    generator, discriminator, loss = state.generator, state.discriminator, LOSSES[config.loss.kind]
    bf16 = config.train.precision == "bf16"
    passes = torch.autocast(photos.device.type, torch.bfloat16, enabled=bf16)
    share = state.peers.share
    real = share(to_signed(augment(to_unit(photos), config.augment, state.augment_rng)))
    noise = share(sample_noise(len(photos), config.model.nz, state.noise_rng))
    part = len(real) / len(photos)  # 1 in a single process

    # D on real photos, then on fakes: two batches, because BatchNorm must not mix their statistics.
    state.optimizer_d.zero_grad(set_to_none=True)
    with passes:
        real_logits = discriminator.judge(_view(state, real, len(photos), config))
    loss_real = loss.real(real_logits)
    loss_real.backward()
    with passes:
        seen = _view(state, generator(noise), len(photos), config)
        fake_logits = discriminator.judge([it.detach() for it in seen])
    loss_fake = loss.fake(fake_logits)
    loss_fake.backward()
    loss_d = state.peers.average_gradients(discriminator, loss_real + loss_fake, part)
    _update(state, state.optimizer_d, loss_d)

    # G through the updated D. The weights of D need no gradient here.
    state.optimizer_g.zero_grad(set_to_none=True)
    with frozen(discriminator):
        with passes:
            fooled_logits = discriminator.judge(seen)
        loss_g = loss.fooled(fooled_logits)
        loss_g.backward()
    loss_g = state.peers.average_gradients(generator, loss_g, part)
    _update(state, state.optimizer_g, loss_g)

    update_ema(state.ema, generator, average_weight * (1 - state.failed))
    with torch.no_grad():
        logits = (real_logits, fake_logits, fooled_logits)
        probabilities = [x.sigmoid().mean() for x in logits]
        kept = state.peers.average(torch.stack([*as_bce(*logits), *probabilities]), part)
        # What stopped the weights must stop the run, too, and in the same step.
        minimised = torch.stack([loss_d, loss_g])
        kept[:2] = torch.where(minimised.isfinite(), kept[:2], minimised)
        return kept


def _view(state: TrainState, share: Tensor, count: int, config: TrainConfig) -> Sequence[Tensor]:
    """What D gets to see of its share of `count` images."""
    if diff_augment.is_on(config.augment):
        drawn = state.peers.share(diff_augment.draw(count, state.diff_rng))
        share = diff_augment.diff_augment(share.float(), config.augment, drawn)
    return state.discriminator.look(share)


@contextmanager
def frozen(network: torch.nn.Module) -> Iterator[None]:
    """Compute no gradients of a network's weights inside the block."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


def _update(state: TrainState, optimizer: Adam, loss: Tensor) -> None:
    state.failed.copy_(torch.maximum(state.failed, (~torch.isfinite(loss)).float()))
    optimizer.step()


def _adam(network: torch.nn.Module, lr: float, config: TrainConfig, failed: Tensor) -> Adam:
    betas = (config.optim.beta1, config.optim.beta2)
    # Capturable: the step count lives on the GPU, so that a CUDA graph can hold the update.
    adam = Adam(network.parameters(), lr=lr, betas=betas, fused=True, capturable=failed.is_cuda)
    # The fused Adam skips its update while this flag is 1, as it does for GradScaler.
    adam.found_inf = failed  # type: ignore[attr-defined]
    return adam
