"""Which precision the networks' passes have: what a device can do, and what `auto` chooses."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

import torch

from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig
from dcgan.errors import UsageError
from dcgan.training.speed import images_per_second

ROUNDS = 3
"""How often `auto` measures each precision, in turns, so that a slow moment hits both."""
FASTER = 1.1
"""How many times as fast as float32 bfloat16 must be to be chosen."""
PRODUCT_SIDE, PRODUCTS = 512, 5
"""The matrices that show whether a processor has instructions for bfloat16."""
INSTRUCTIONS = 0.75
"""Their time in bfloat16, as a share of float32's, is about 0.5 with instructions and over 1
without."""


@dataclass(frozen=True)
class Choice:
    """What `train.precision: auto` means here."""

    precision: str
    reason: str
    rates: Mapping[str, float] = field(default_factory=dict)
    """Images/s of each precision; empty if nothing was measured."""

    def __str__(self) -> str:
        return f"train.precision is {self.precision}, {self.reason}"


def choose(config: TrainConfig, device: torch.device, *, alone: bool = True) -> Choice:
    """Choose the fastest precision that was found harmless.

    A CPU trains a few steps in float32 and in bfloat16 with `train.threads`. A process that is not
    `alone` measures nothing, because all of them must choose the same.
    """
    if device.type == "cuda":
        if _is_recent(device):
            return Choice("tf32", "torch's own default for convolutions on this GPU")
        return Choice("fp32", "all that this GPU has")
    if device.type != "cpu":
        return Choice("fp32", f"the default on {device.type}")
    if not alone:
        return Choice("fp32", "because several processes cannot measure")
    if not has_fast_bfloat16():
        return Choice("fp32", "because this processor has no fast bfloat16")
    return fastest_precision(config)


def fastest_precision(
    config: TrainConfig, measure: Callable[[TrainConfig], float] = images_per_second
) -> Choice:
    """Measure float32 and bfloat16 in turns on this processor; the median of the ratios counts."""
    rounds = []
    for _ in range(ROUNDS):
        tried = {name: _with_precision(config, name) for name in ("fp32", "bf16")}
        rounds.append({name: measure(it) for name, it in tried.items()})
    ratio = statistics.median(rates["bf16"] / rates["fp32"] for rates in rounds)
    rates = {name: max(rates[name] for rates in rounds) for name in ("fp32", "bf16")}
    measured = ", ".join(f"{name}: {rate:.0f} images/s" for name, rate in rates.items())
    if ratio >= FASTER:
        return Choice("bf16", f"{ratio:.2f} times as fast as fp32 here ({measured})", rates)
    return Choice("fp32", f"bf16 is {ratio:.2f} times as fast here ({measured})", rates)


def settle(
    config: TrainConfig, device: torch.device, *, alone: bool = True
) -> tuple[TrainConfig, Choice | None]:
    """Replace `train.precision: auto`; also returns the choice if one was made.

    Raises `UsageError` if the device cannot compute in the config's precision.
    """
    check_possible(config.train.precision, device)
    if config.train.precision != "auto":
        return config, None
    choice = choose(config, device, alone=alone)
    return _with_precision(config, choice.precision), choice


def check_possible(precision: str, device: torch.device) -> None:
    """Raise `UsageError` if the device has no such precision and no equal one."""
    if precision == "bf16" and device.type == "cuda" and not _is_recent(device):
        name = torch.cuda.get_device_name(device)
        raise UsageError(f"train.precision is bf16, which the GPU {name} lacks; use fp32")


def remark(precision: str, device: torch.device) -> str:
    """What to tell about a precision that a person has named; empty if it is a sensible one."""
    if precision == "tf32" and not _is_recent(device):
        return f"train.precision is tf32, which this {device.type} device lacks: it computes fp32"
    if precision == "bf16" and device.type == "cpu" and not has_fast_bfloat16():
        return "train.precision is bf16, which is slower than fp32 on this processor"
    return ""


def continued(precision: str, begun: str, device: torch.device) -> str:
    """The precision of a run or study that began with another setting.

    `auto` keeps what was chosen then. Without a CUDA GPU, tf32 and fp32 are the same.
    """
    same = device.type != "cuda" and {precision, begun} == {"fp32", "tf32"}
    return begun if precision == "auto" or same else precision


def _with_precision(config: TrainConfig, precision: str) -> TrainConfig:
    return override(config, {"train.precision": precision}, "train.precision")


def _is_recent(device: torch.device) -> bool:
    """Whether it is a CUDA GPU with TF32 and bfloat16."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


@cache
def has_fast_bfloat16() -> bool:
    """Whether this processor has instructions for bfloat16, by the time of plain products.

    One thread measures, because many would mostly wait for each other.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = dict.fromkeys((torch.float32, torch.bfloat16), float("inf"))
        for _ in range(PRODUCTS):
            for kind, best in seconds.items():
                left = torch.ones(PRODUCT_SIDE, PRODUCT_SIDE, dtype=kind)
                start = time.perf_counter()
                left @ left
                seconds[kind] = min(best, time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return seconds[torch.bfloat16] < INSTRUCTIONS * seconds[torch.float32]
