"""Which precision the networks' passes have: what a device can do, and what `auto` chooses."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import torch

from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig
from dcgan.errors import UsageError
from dcgan.training.speed import WORTH_IT, images_per_second

ROUNDS = 2
"""How often `auto` measures each precision, in turns, so that a slow moment hits both."""
PRODUCT_SIDE, PRODUCTS = 512, 5
"""The matrices that show whether a processor has instructions for bfloat16."""


def check_possible(precision: str, device: torch.device) -> None:
    """Raise `UsageError` if the device cannot compute in this precision."""
    if precision in ("auto", "fp32"):
        return
    if device.type == "cuda":
        if torch.cuda.get_device_capability(device) >= (8, 0):
            return
        name = torch.cuda.get_device_name(device)
        raise UsageError(f"train.precision is {precision}, which the GPU {name} lacks; use fp32")
    if precision == "tf32":
        raise UsageError(
            f"train.precision is tf32, which only CUDA GPUs have, but train.device is "
            f"{device.type}; use fp32 (the same numbers there), bf16 or auto"
        )


def continued(precision: str, begun: str, device: torch.device) -> str:
    """The precision of a run or study that began with another setting.

    `auto` keeps what was chosen then. Without a CUDA GPU, tf32 and fp32 are the same.
    """
    same = device.type != "cuda" and {precision, begun} == {"fp32", "tf32"}
    return begun if precision == "auto" or same else precision


def with_chosen_precision(
    config: TrainConfig, device: torch.device, *, alone: bool = True
) -> tuple[TrainConfig, str]:
    """Replace `train.precision: auto` by the fastest precision that was found harmless.

    A CPU trains a few steps in float32 and in bfloat16. A process that is not `alone` measures
    nothing, because all of them must choose the same. Returns the config, and a sentence about the
    choice, or about a bad one in the config; it is empty if there is nothing to say.
    """
    asked = config.train.precision
    if asked != "auto":
        slow = asked == "bf16" and device.type == "cpu" and not has_fast_bfloat16()
        told = "train.precision is bf16, which is slower than fp32 on this processor"
        return config, told if slow else ""
    chosen, rates = fastest_precision(config, device) if alone else (_unmeasured(device), {})
    measured = ", ".join(f"{name}: {rate:.0f} images/s" for name, rate in rates.items())
    reason = f"the faster one here ({measured})" if rates else f"the default on {device.type}"
    config = override(config, {"train.precision": chosen}, "train.precision")
    return config, f"train.precision is {chosen}, {reason}"


def fastest_precision(
    config: TrainConfig,
    device: torch.device,
    measure: Callable[[TrainConfig], float] = images_per_second,
) -> tuple[str, dict[str, float]]:
    """What `auto` means here, and the images/s of each precision, if they were measured."""
    if device.type != "cpu" or not has_fast_bfloat16():
        return _unmeasured(device), {}
    rates = {"fp32": 0.0, "bf16": 0.0}
    for _ in range(ROUNDS):
        for name, rate in rates.items():
            tried = override(config, {"train.precision": name}, "train.precision")
            rates[name] = max(rate, measure(tried))
    return "bf16" if rates["bf16"] >= WORTH_IT * rates["fp32"] else "fp32", rates


def _unmeasured(device: torch.device) -> str:
    """TF32, which is torch's own choice for convolutions, on a GPU that has it; else float32."""
    capable = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return "tf32" if capable else "fp32"


@cache
def has_fast_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 matrices faster than float32 ones: measured.

    Emulated bfloat16 is several times slower, instructions for it are about twice as fast, so that
    a busy machine changes nothing.
    """
    seconds = dict.fromkeys((torch.float32, torch.bfloat16), float("inf"))
    for _ in range(PRODUCTS):
        for kind, best in seconds.items():
            left = torch.ones(PRODUCT_SIDE, PRODUCT_SIDE, dtype=kind)
            start = time.perf_counter()
            left @ left
            seconds[kind] = min(best, time.perf_counter() - start)
    return seconds[torch.bfloat16] * WORTH_IT < seconds[torch.float32]
