"""Extractors by their name in `eval.extractor`. A module is imported when it is needed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dcgan.config.train_config import EXTRACTORS, refuse_program
from dcgan.errors import EvaluationError
from dcgan.evaluation.extractors.weights import (
    CANONICAL,
    OnProgress,
    Release,
    WeightsFile,
    cached_weights,
    download_weights,
    named_weights,
    offline,
)

if TYPE_CHECKING:
    from dcgan.evaluation.extractors.base import Extractor

_unreachable: set[str] = set()
"""URLs whose download for `auto` failed in this process. They are not tried again."""


def load_extractor(
    name: str,
    device: torch.device | str,
    *,
    weights: Path | str | None = None,
    image_size: int = 64,
    on_progress: OnProgress | None = None,
) -> Extractor:
    """Load an extractor by its name in `eval.extractor`.

    Args:
        name: "joint"; "imagenet"; "layout"; "random"; "inception"; "module:callable" for your
            own; or "auto". With `weights`, auto means Inception. On a CUDA GPU it means Inception
            if its weights are on this machine or can be downloaded (about 10 s without a network).
            Otherwise it means joint, or layout if imagenet's weights are not installed.
        weights: file with Inception's weights (`eval.weights`). None: see `weights`.
        image_size: side in pixels of the images that your own extractor is tried with.
        on_progress: called with (bytes done, bytes in all) while weights are downloaded.

    Raises `ConfigError` for the name of an exported program, which earlier releases loaded, and
    `EvaluationError` for an unknown name, missing or damaged weights, an extractor of yours that
    breaks the rules, or `weights` for another extractor than Inception.
    """
    refuse_program(name)
    where = torch.device(device)
    if name == "inception" or auto_prefers_inception(name, where, weights):
        find = find_weights_for_auto if name == "auto" else find_weights
        if found := find(weights, on_progress):
            from dcgan.evaluation.extractors.inception import load_inception

            return load_inception(found, where)
    elif weights is not None:
        raise EvaluationError(
            f"eval.weights names weights of Inception ({weights}) but the extractor is {name!r}; "
            "leave out the weights, or set the extractor to inception"
        )
    if name == "auto":
        from dcgan.evaluation.extractors.imagenet import is_installed

        name = "joint" if is_installed() else "layout"
    if name == "joint":
        from dcgan.evaluation.extractors.joint import load_joint

        return load_joint(where)
    if name in ("layout", "random"):
        from dcgan.evaluation.extractors.random_network import load_random_network

        return load_random_network(name, where)
    if name == "imagenet":
        from dcgan.evaluation.extractors.imagenet import load_imagenet

        return load_imagenet(where)
    if ":" in name:
        from dcgan.evaluation.extractors.custom import load_custom_extractor

        return load_custom_extractor(name, where, image_size)
    raise EvaluationError(
        f"the extractor {name!r} is not known; use one of: {', '.join(EXTRACTORS)}, "
        "or module:callable"
    )


def auto_prefers_inception(
    name: str, device: torch.device, weights: Path | str | None = None
) -> bool:
    """Whether a name is `auto` and means Inception if its weights can be had."""
    # An Inception score of 1,024 images takes minutes on a CPU.
    return name == "auto" and (weights is not None or device.type == "cuda")


def find_weights(
    given: Path | str | None = None,
    on_progress: OnProgress | None = None,
    release: Release = CANONICAL,
) -> WeightsFile:
    """Inception's weights, from the first place that has them (see `weights`).

    Raises `EvaluationError` if a named file cannot be read, the file in the torch hub cache is
    damaged, or the download fails.
    """
    return named_weights(given) or cached_weights(release) or download_weights(on_progress, release)


def find_weights_for_auto(
    given: Path | str | None = None,
    on_progress: OnProgress | None = None,
    release: Release = CANONICAL,
) -> WeightsFile | None:
    """Like `find_weights`, but None if the weights are not available.

    A download replaces a damaged file in the torch hub cache. A failed download is not tried again
    in this process. Raises `EvaluationError` if a file is named but cannot be read.
    """
    if named := named_weights(given):
        return named
    with suppress(EvaluationError):
        if cached := cached_weights(release):
            return cached
    if offline() or release.url in _unreachable:
        return None
    try:
        return download_weights(on_progress, release)
    except EvaluationError:
        _unreachable.add(release.url)
        return None
