"""What a study's first launch finds out about the machine and later launches keep."""

from __future__ import annotations

from collections.abc import Callable

from dcgan.config_io import override
from dcgan.devices import resolve_device
from dcgan.evaluation import configured_extractor
from dcgan.thread_choice import fastest_threads
from study.config import StudyConfig


def settle(
    config: StudyConfig, earlier: StudyConfig | None, say: Callable[[str], None]
) -> StudyConfig:
    """Replace what the config leaves open: `eval.extractor: auto`, and `train.threads` on a CPU.

    Numbers depend on both, so they are chosen once for all trials.

    Args:
        earlier: the config of the study's last launch; none at the first.
        say: called with one sentence for each choice made.
    """
    return _with_threads(_with_extractor(config, earlier, say), earlier, say)


def _with_extractor(
    config: StudyConfig, earlier: StudyConfig | None, say: Callable[[str], None]
) -> StudyConfig:
    """The best extractor at hand."""
    if config.base.eval.extractor != "auto":
        return config
    if earlier is not None:
        kept = {
            f"base.eval.{key}": getattr(earlier.base.eval, key) for key in ("extractor", "weights")
        }
        return override(config, kept, "eval.extractor")
    extractor = configured_extractor(config.base, resolve_device(config.base.train.device))
    say(
        f"extractor auto: '{extractor.name}' ({extractor.source}) is the best at hand, so scores "
        f"are {extractor.frechet_name} in this study"
    )
    return override(config, {"base.eval.extractor": extractor.name}, "eval.extractor")


def _with_threads(
    config: StudyConfig, earlier: StudyConfig | None, say: Callable[[str], None]
) -> StudyConfig:
    """The thread count that trains the base recipe fastest."""
    if config.base.train.threads is not None:
        return config
    if earlier is not None:
        kept = earlier.base.train.threads
        return override(config, {"base.train.threads": kept}, "train.threads")
    if resolve_device(config.base.train.device).type != "cpu":
        return config
    threads, rates = fastest_threads(config.base)
    measured = ", ".join(f"{count}: {rate:.0f} images/s" for count, rate in rates.items())
    say(f"train.threads is {threads} in this study, the fastest here ({measured})")
    return override(config, {"base.train.threads": threads}, "train.threads")
