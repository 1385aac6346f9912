"""Section: the losses of float32 steps on the GPU against those on the CPU.

Both train the same small networks on the same photos, without augmentation, with the same noise:
the noise is drawn on the CPU and moved, because the random streams of the two devices differ. The
reduced form compares float32 with float64, both on the CPU, in the same way.

Trajectories of a GAN drift apart from rounding alone. Adam's first updates are nearly ±lr whatever
the size of a gradient, so a weight whose gradient is nearly 0 may go the other way, and the game
amplifies that. So the tolerance is tight before the first update and grows. The later three are
four to six times the largest difference of float32 from float64, and of one CPU thread from two,
over five seeds. A wrong slope, momentum or learning rate exceeds them within three steps
(`tests/test_gpu_benchmark.py`).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.gpu_parts.report import Line, at_least, at_most
from benchmarks.gpu_parts.setup import Setup
from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig
from dcgan.data.bank import load_bank
from dcgan.runtime.numerics import numerics
from dcgan.runtime.seeds import make_rng
from dcgan.training.distributed import Peers
from dcgan.training.schedule import Schedule
from dcgan.training.step import TrainState, update

STEPS = 50
BEFORE_UPDATES = (0, 2, 3)
"""Of `STEP_FIELDS`: what the first step computes before it changes a weight."""
FIRST_TOLERANCE = 1e-5
TOLERANCES = {3: 4e-3, 10: 0.05, STEPS: 0.4}
"""Steps → how far any loss or probability may differ by then, as a share of its value or of 0.1."""
LEAST_CHANGE = 0.05
"""So that networks that learn nothing do not pass."""
SMALL = {
    "data.source": "toy_cats",
    "data.toy_count": 80,
    "data.image_size": 32,
    "augment.brightness": 0,
    "augment.saturation": 0,
    "augment.blur_sigma": 0,
    "model.nz": 16,
    "model.ngf": 16,
    "model.ndf": 16,
    "train.batch_size": 16,
    "train.precision": "fp32",
    "train.threads": 1,
}


class Moved(Peers):
    """Alone, but what a step draws or reads is moved to a device and made another dtype."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.device, self.dtype = device, dtype

    def share(self, batch: Tensor) -> Tensor:
        return batch.to(self.device, self.dtype)


def losses(setup: Setup) -> Iterator[Line]:
    """Compare 50 steps; on a GPU the lower precisions are shown too."""
    config = small_config(setup.config())
    if setup.reduced:
        expected = trajectory(config, "cpu", torch.float64)
        yield from differences("float32 / float64", trajectory(config, "cpu"), expected)
        return
    expected = trajectory(config, "cpu")
    yield from differences("GPU / CPU", trajectory(config, setup.device), expected)
    for precision in ("tf32", "bf16"):
        other = override(config, {"train.precision": precision}, "losses")
        difference = relative(trajectory(other, setup.device), expected)
        yield Line(f"{precision} / CPU, step 1", float(difference[0, BEFORE_UPDATES].max()))
        yield Line(f"{precision} / CPU, step 1 to 10", float(difference[:10].max()))


def small_config(config: TrainConfig) -> TrainConfig:
    """The networks and photos that are compared."""
    return override(config, SMALL, "losses")


def trajectory(config: TrainConfig, device_name: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """What `STEPS` steps return: float64 `(STEPS, 5)` on the CPU."""
    device = torch.device(device_name)
    photos = load_bank(config.data).images.to(device)
    schedule = Schedule(config, len(photos), device)
    state = TrainState.fresh(config, device, Moved(device, dtype))
    state.noise_rng = make_rng("cpu", config.train.seed, "noise")
    for network in (state.generator, state.discriminator, state.ema):
        network.to(dtype)  # in place: the optimizers keep their parameters
    rows = []
    with numerics(config.train):
        for step in range(STEPS):
            indices = schedule.batch(step)
            # A tensor, because a number would take the dtype of the flag for failed steps.
            weight = torch.tensor(state.count(len(indices), config), dtype=dtype, device=device)
            rows.append(update(state, photos[indices], weight, config).double().cpu())
    return torch.stack(rows)


def relative(found: Tensor, expected: Tensor) -> Tensor:
    """Differences as a share of the expected value, or of 0.1 if that is larger."""
    return (found - expected).abs() / expected.abs().clamp_min(0.1)


def differences(what: str, found: Tensor, expected: Tensor) -> Iterator[Line]:
    """A line for each tolerance."""
    difference = relative(found, expected)
    first = float(difference[0, list(BEFORE_UPDATES)].max())
    yield at_most(f"{what}, step 1 before its updates", first, FIRST_TOLERANCE)
    for steps, most in TOLERANCES.items():
        yield at_most(f"{what}, steps 1 to {steps}", float(difference[:steps].max()), most)
    moved = float((expected[-1] - expected[0]).abs().max())
    yield at_least("any of them changed meanwhile by", moved, LEAST_CHANGE, applies=True)
