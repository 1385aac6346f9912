"""torch without its compiler: the same numbers, and no import of it."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dcgan.runtime.lean_torch import Adam, use_deterministic_algorithms


def losses(network: nn.Module, optimizer: torch.optim.Adam, steps: int) -> list[float]:
    """Train on noise and return each step's loss."""
    rng, values = torch.Generator().manual_seed(0), []
    for _ in range(steps):
        inputs: Tensor = torch.randn(8, 5, generator=rng)
        optimizer.zero_grad(set_to_none=True)
        loss = (network(inputs) - inputs.sum(1, keepdim=True)).square().mean()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    return values


def test_adam_is_torchs_bit_for_bit_also_from_each_others_state() -> None:
    ours = nn.Linear(5, 1)
    theirs = copy.deepcopy(ours)
    options = {"lr": 1e-2, "betas": (0.5, 0.999), "fused": True}
    our_adam = Adam(ours.parameters(), **options)
    their_adam = torch.optim.Adam(theirs.parameters(), **options)
    first = losses(ours, our_adam, 20)
    assert first == losses(theirs, their_adam, 20)
    assert first[-1] < first[0]
    again = Adam(ours.parameters(), **options)
    again.load_state_dict(their_adam.state_dict())
    their_adam.load_state_dict(our_adam.state_dict())
    assert losses(ours, again, 5) == losses(theirs, their_adam, 5)


def test_adam_leaves_weights_alone_where_told_so() -> None:
    network = nn.Linear(5, 1)
    before = copy.deepcopy(network.state_dict())
    adam = Adam(network.parameters(), fused=True)
    adam.found_inf = torch.ones(())  # type: ignore[attr-defined]
    losses(network, adam, 2)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_deterministic_algorithms() -> None:
    for mode, warn_only in ((True, False), (True, True), (False, False)):
        use_deterministic_algorithms(mode, warn_only=warn_only)
        assert torch.are_deterministic_algorithms_enabled() is mode
        assert torch.is_deterministic_algorithms_warn_only_enabled() is warn_only


TRAIN = """
import sys
from pathlib import Path
import pytest
import torch
from dcgan import TrainConfig, train
from dcgan.config.settings import override
config = override(TrainConfig(), {
    "data.source": "toy_cats", "data.toy_count": 8, "data.image_size": 32, "model.ngf": 8,
    "model.ndf": 8, "train.epochs": 1, "train.batch_size": 8, "train.device": "cpu",
    "eval.extractor": "layout", "eval.n_samples": 16, "train.log_every_steps": 1,
}, "a test")
seen = set()
def look(record):
    seen.add(torch.are_deterministic_algorithms_enabled())
train(config, Path(sys.argv[1]), on_log=look)
slow = ("torch._dynamo", "torch._inductor", "torchvision", "torchmetrics", "scipy.optimize")
print([name for name in slow if name in sys.modules], seen)
"""


@pytest.mark.slow
def test_training_is_deterministic_and_imports_no_compiler(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TRAIN, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] {True}"
