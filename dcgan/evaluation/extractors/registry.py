"""Extractors by their name in `eval.extractor`; each one's module is imported when it is needed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dcgan.config.train_config import EXTRACTORS
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
"""URLs that could not be downloaded for `auto` in this process: it does not wait for them twice."""


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
        name: "layout"; "random"; "inception"; "auto" for Inception where its weights are at hand
            or can be downloaded (within about 10 s where there is no network), else layout, and the
            result's `name` and `source` say which; "FILE.pt2" or "module:callable" for one's own.
        device: where it will run.
        weights: file with Inception's weights (`eval.weights`); none: see
            `weights`.
        image_size: side of the square images an extractor of one's own is tried with.
        on_progress: called with (bytes done, bytes in all) while weights are downloaded.

    Raises:
        EvaluationError: an unknown name, weights that are missing or damaged, an extractor of
            one's own that does not keep the rules, or `weights` for another than Inception.
    """
    where = torch.device(device)
    if name in ("auto", "inception"):
        find = find_weights_for_auto if name == "auto" else find_weights
        found = find(weights, on_progress)
        return _load_layout(where) if found is None else _load_inception(found, where)
    if weights is not None:
        raise EvaluationError(
            f"eval.weights names weights of Inception ({weights}) but the extractor is {name!r}; "
            "leave out the one, or set the other to inception"
        )
    if name == "layout":
        return _load_layout(where)
    if name == "random":
        return _load_random(where)
    if name.endswith(".pt2") or ":" in name:
        return _load_custom(name, where, image_size)
    raise EvaluationError(
        f"the extractor {name!r} is not known; use one of: {', '.join(EXTRACTORS)}, "
        "a file ending in .pt2, or module:callable"
    )


def find_weights(
    given: Path | str | None = None,
    on_progress: OnProgress | None = None,
    release: Release = CANONICAL,
) -> WeightsFile:
    """Inception's weights, from the first place that has them (see `weights`).

    Raises:
        EvaluationError: a named file cannot be read, the one in the torch hub cache is damaged, or
            there is none and it cannot be downloaded.
    """
    return named_weights(given) or cached_weights(release) or download_weights(on_progress, release)


def find_weights_for_auto(
    given: Path | str | None = None,
    on_progress: OnProgress | None = None,
    release: Release = CANONICAL,
) -> WeightsFile | None:
    """As `find_weights`, but none where they are not to be had.

    A damaged file in the torch hub cache counts as absent (a download replaces it), and a download
    that failed is not tried again in this process.

    Raises:
        EvaluationError: a file is named but cannot be read: whoever named it wants no other.
    """
    named = named_weights(given)
    if named is not None:
        return named
    with suppress(EvaluationError):
        cached = cached_weights(release)
        if cached is not None:
            return cached
    if offline() or release.url in _unreachable:
        return None
    try:
        return download_weights(on_progress, release)
    except EvaluationError:
        _unreachable.add(release.url)
        return None


def _load_layout(device: torch.device) -> Extractor:
    from dcgan.evaluation.extractors.layout import load_layout_network

    return load_layout_network(device)


def _load_random(device: torch.device) -> Extractor:
    from dcgan.evaluation.extractors.random import load_random_network

    return load_random_network(device)


def _load_inception(weights: WeightsFile, device: torch.device) -> Extractor:
    from dcgan.evaluation.extractors.inception import load_inception

    return load_inception(weights, device)


def _load_custom(name: str, device: torch.device, image_size: int) -> Extractor:
    from dcgan.evaluation.extractors.custom import load_custom_extractor

    return load_custom_extractor(name, device, image_size)
