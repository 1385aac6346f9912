"""Several processes that train one model: real ones, started by torchrun, talking gloo."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from ready import Process, Ready
from torch import Tensor

from dcgan.config.settings import save_config
from dcgan.data.augment import augment
from dcgan.data.bank import load_bank
from dcgan.data.pixels import to_signed, to_unit
from dcgan.errors import UsageError
from dcgan.models.ema import update_ema
from dcgan.models.networks import sample_noise
from dcgan.training.distributed import ALONE, Peers
from dcgan.training.losses import bce_if_fake, bce_if_real
from dcgan.training.run.checkpoint import load_checkpoint
from dcgan.training.run.history import STEP_FIELDS, read_logs
from dcgan.training.schedule import Schedule
from dcgan.training.step import TrainState

CPU = torch.device("cpu")
PROCESSES = 2
PHOTOS, BATCH, EPOCHS = 41, 16, 25  # a tail of 9: shares of 5 and 4


@pytest.fixture(scope="module")
def config(tiny_config):
    return tiny_config(
        data__toy_count=PHOTOS,
        train__batch_size=BATCH,
        train__epochs=EPOCHS,
        train__log_every_steps=1,
        train__checkpoint_every_epochs=EPOCHS,
        augment__rotation_degrees=10,
        eval__every_epochs=0,
    )


def torchrun(programs: Ready, config: Any, out: Path, *arguments: str) -> Process:
    """Start training in two processes, as docs/train.md says, in a session of their own.

    A file of the working folder must not be taken for the package.
    """
    out.parent.mkdir(exist_ok=True)
    (out.parent / "dcgan.py").write_text("raise SystemExit('imported from the working folder')")
    save_config(config, out.with_suffix(".yaml"))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(PROCESSES)]
    train = ["--no-python", str(programs.dcgan), "train", str(out.with_suffix(".yaml"))]
    train += ["--out", str(out)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return programs.start("python", *launcher, *train, *arguments, cwd=out.parent, **streams)


def finished(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=240)
    return output


def step_losses(out: Path) -> Tensor:
    """float64 `(steps, 5)`, as the history has them."""
    records = read_logs(out / "history.jsonl")
    rows = [list(zip(*(r.every_step[key] for key in STEP_FIELDS), strict=True)) for r in records]
    return torch.tensor([step for steps in rows for step in steps], dtype=torch.float64)


@pytest.fixture(scope="module")
def undisturbed(config, programs: Ready, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("peers") / "run"
    process = torchrun(programs, config, out)
    output = finished(process)
    assert process.returncode == 0, output
    assert output.count("results in") == 1
    assert "2 processes" in output
    return out


def shared_step(state: TrainState, photos: Tensor, config: Any) -> Tensor:
    """The definition, in one process: each share on its own, their losses weighted by size."""
    weight = state.count(len(photos), config)
    real = to_signed(augment(to_unit(photos), config.augment, state.augment_rng))
    noise = sample_noise(len(photos), config.model.nz, state.noise_rng)
    shares = list(zip(real.tensor_split(PROCESSES), noise.tensor_split(PROCESSES), strict=True))
    parts = [len(share) / len(photos) for share, _ in shares]
    generator, discriminator = state.generator, state.discriminator
    totals = torch.zeros(5)
    fakes = [generator(z) for _, z in shares]
    state.optimizer_d.zero_grad()
    for part, (share, _), fake in zip(parts, shares, fakes, strict=True):
        on_real, on_fake = discriminator(share), discriminator(fake.detach())
        loss = bce_if_real(on_real) + bce_if_fake(on_fake)
        (part * loss).backward()
        values = [loss.item(), 0.0, *(x.sigmoid().mean().item() for x in (on_real, on_fake)), 0.0]
        totals += part * torch.tensor(values)
    state.optimizer_d.step()
    state.optimizer_g.zero_grad()
    for part, fake in zip(parts, fakes, strict=True):
        logits = discriminator(fake)
        loss = bce_if_real(logits)
        (part * loss).backward()
        totals += part * torch.tensor([0, loss.item(), 0, 0, logits.sigmoid().mean().item()])
    state.optimizer_g.step()
    update_ema(state.ema, generator, weight)
    return totals


@pytest.mark.slow
def test_two_processes_train_as_one_that_takes_both_shares(config, undisturbed: Path) -> None:
    photos = load_bank(config.data).images
    schedule, state = Schedule(config, PHOTOS, CPU), TrainState.fresh(config, CPU)
    assert [len(schedule.batch(step)) for step in range(3)] == [16, 16, 9]
    expected = [shared_step(state, photos[schedule.batch(step)], config) for step in range(9)]
    losses = step_losses(undisturbed)
    assert losses.shape == (3 * EPOCHS, 5)
    torch.testing.assert_close(losses[:9], torch.stack(expected).double(), rtol=1e-4, atol=1e-5)
    alone = TrainState.fresh(config, CPU)
    assert alone.peers is ALONE


@pytest.mark.slow
def test_a_run_stopped_by_ctrl_c_continues_bit_for_bit(
    config, programs: Ready, undisturbed: Path
) -> None:
    out = undisturbed.with_name("stopped")
    process = torchrun(programs, config, out)
    deadline = time.monotonic() + 120
    while len(read_logs(out / "history.jsonl")) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.program, signal.SIGINT)  # as a terminal does: to torchrun and its processes
    output = finished(process)
    assert process.returncode != 0, output
    stopped = load_checkpoint(out / "checkpoint.pt")
    assert 5 <= stopped.step < 3 * EPOCHS
    again = torchrun(programs, config, out, "--resume")
    output = finished(again)
    assert again.returncode == 0, output
    assert torch.equal(step_losses(out), step_losses(undisturbed))
    ours, theirs = (load_checkpoint(run / "checkpoint.pt") for run in (out, undisturbed))
    for name in ("generator", "discriminator", "ema"):
        for key, value in ours.state[name].items():
            assert torch.equal(value, theirs.state[name][key]), (name, key)


@pytest.mark.parametrize(("photos", "batch", "what"), [(42, 3, "a batch"), (42, 10, "last batch")])
def test_fewer_photos_than_processes_are_refused(tiny_config, photos, batch, what) -> None:
    config = tiny_config(train__batch_size=batch)
    with pytest.raises(UsageError, match=f"{what} has . photos for 4 processes"):
        Peers(0, 4).check_shares(Schedule(config, photos, CPU))
    ALONE.check_shares(Schedule(config, photos, CPU))
    Peers(0, 2).check_shares(Schedule(config, photos, CPU))


def test_shares_are_all_of_a_batch() -> None:
    batch = torch.arange(10)
    shares = [Peers(rank, 4).share(batch) for rank in range(4)]
    assert [len(share) for share in shares] == [3, 3, 2, 2]
    assert torch.equal(torch.cat(shares), batch)
    assert ALONE.share(batch) is batch
