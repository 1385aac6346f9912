"""A user's own extractor, `module:callable`. It runs with your rights: name only trusted code."""

from __future__ import annotations

import hashlib
import importlib
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from dcgan.config.train_config import EXTRACTORS
from dcgan.errors import EvaluationError, first_line
from dcgan.evaluation.extractors.base import Extractor
from dcgan.runtime.numerics import full_float32

TAKEN = re.compile(
    rf"|custom|{'|'.join(EXTRACTORS)}"
    r"|.*_(ema|raw|standard_error|low|high|times_floor|holdout|trained)"
)
"""Names of other extractors, and endings that records append to a metric's name."""
REPEATS = 1e-4
"""Largest difference between two calls, relative to the largest feature: float32 rounding."""
ALONE = 1e-2
"""The same for an image alone in its batch, where half-precision code may run differently."""
_imported: dict[str, str] = {}
"""Digest of each module's file at its first use."""


def custom_extractor(
    function: Callable[[Tensor], object],
    *,
    source: str,
    definition: str,
    device: torch.device,
    image_size: int,
) -> Extractor:
    """The extractor of a user's function. Its metrics are called fd_NAME and kd_NAME.

    Args:
        function: uint8 (N, 3, H, W) on `device`, any N >= 1 → floating-point (N, d). A row
            depends on its image only, and the same images give the same features again.
        source: its name as in `eval.extractor`; NAME is the last part of it.
        definition: everything that its features depend on; hashed into the fingerprint.
        image_size: side in pixels of the images that it is tried with.

    Raises `EvaluationError` if its name is taken or it breaks the rules of `function`.
    """
    label = re.split(r"[:.]", source)[-1]
    name = re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")
    if TAKEN.fullmatch(name):
        raise EvaluationError(
            f"the extractor {source} cannot give its metrics the name {name!r}, which is empty or "
            "taken; rename it"
        )
    checked = partial(_checked, function, source)
    return Extractor(
        name=name,
        frechet_name=f"fd_{name}",
        kernel_name=f"kd_{name}",
        dimension=_tried(checked, source, device, image_size),
        fingerprint=hashlib.sha256(definition.encode()).hexdigest(),
        source=source,
        device=device,
        function=checked,
    )


def _checked(function: Callable[[Tensor], object], source: str, images: Tensor) -> Tensor:
    """Call a user's function. Its errors and outputs of a wrong kind become `EvaluationError`."""
    try:
        # a copy, because the function may change its input in place
        output = function(images.clone())
    except (torch.OutOfMemoryError, MemoryError):
        raise  # the caller names the settings that need less
    except Exception as error:
        if "not enough memory" in str(error):  # torch's CPU allocator has no own type
            raise
        raise EvaluationError(
            f"the extractor {source} failed on images of the shape {tuple(images.shape)} "
            f"({_what(error)})"
        ) from error
    if not isinstance(output, Tensor) or not output.is_floating_point():
        kind = output.dtype if isinstance(output, Tensor) else type(output).__name__
        raise EvaluationError(
            f"the extractor {source} must return a floating-point tensor but returned {kind}"
        )
    if output.ndim != 2 or len(output) != len(images) or not output.shape[1]:
        raise EvaluationError(
            f"the extractor {source} must return one row of features per image, the shape "
            f"({len(images)}, d), but returned {tuple(output.shape)}"
        )
    return output.float()


def _tried(
    function: Callable[[Tensor], Tensor], source: str, device: torch.device, image_size: int
) -> int:
    """The number of features of a few images. Refuses features that cannot be compared."""
    rng = torch.Generator().manual_seed(0)
    # 16 blocks of colour each, because images of noise have nearly the same features
    blocks = torch.randint(0, 256, (4, 3, 4, 4), generator=rng, dtype=torch.uint8)
    images = nn.functional.interpolate(blocks, size=(image_size, image_size)).to(device)
    with torch.no_grad(), full_float32(device):
        first, again, alone = function(images), function(images), function(images[:1])
    problem = ""
    if not first.isfinite().all():
        problem = "NaN or infinite features"
    elif not _close(first, again, REPEATS):
        problem = (
            "other features for the same images when called again; remove random parts, such as "
            "dropout (eval mode)"
        )
    elif not _close(first[:1], alone, ALONE):
        problem = (
            "other features for an image when it was alone in its batch; each row must depend on "
            "its own image only (BatchNorm in eval mode)"
        )
    if problem:
        raise EvaluationError(f"the extractor {source} returned {problem}")
    return first.shape[1]


def load_custom_extractor(name: str, device: torch.device, image_size: int) -> Extractor:
    """Import "module:callable" from the installed modules or the working folder.

    A network is moved to `device` and set to eval mode. The fingerprint covers the module's file,
    the callable's name and its attribute `fingerprint`, a string for everything else that its
    features depend on, such as a file of weights.

    Raises `EvaluationError` if it cannot be imported or run, or if it breaks the rules.
    """
    module_name, _, attribute = name.partition(":")
    module, digest = _import(module_name, name)
    function: Any = module
    try:
        for part in attribute.split("."):
            function = getattr(function, part)
    except AttributeError as error:
        raise EvaluationError(
            f"the extractor {name} is not in {module.__file__} ({first_line(error)}); correct "
            "eval.extractor"
        ) from error
    if not callable(function):
        raise EvaluationError(
            f"the extractor {name} must be callable but is {type(function).__name__}; name a "
            "function or a network"
        )
    declared = getattr(function, "fingerprint", "")
    if not isinstance(declared, str):
        raise EvaluationError(
            f"the extractor {name} must have a string as its attribute fingerprint, or none, but "
            f"has {type(declared).__name__}"
        )
    if isinstance(function, nn.Module):
        function = function.to(device).eval()
    return custom_extractor(
        function,
        source=name,
        definition=f"callable 1:{digest}:{attribute}:{declared}",
        device=device,
        image_size=image_size,
    )


def _import(module_name: str, name: str) -> tuple[ModuleType, str]:
    """The module and the digest of its source."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that a file there does not hide an installed module
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a script may call sys.exit
        raise EvaluationError(
            f"the extractor {name} cannot be imported ({_what(error)}); modules are searched "
            f"among the installed ones, then in {folder}"
        ) from error
    file = Path(getattr(module, "__file__", None) or "")
    try:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise EvaluationError(
            f"the extractor {name} is in a module without a file that can be read, so its scores "
            "could not be told from another version's; put it into a file of yours"
        ) from error
    if _imported.setdefault(str(file), digest) != digest:
        raise EvaluationError(
            f"the extractor {name} cannot be used because {file} was changed after it was "
            "imported; start Python again to score with the new version"
        )
    return module, digest


def _close(features: Tensor, others: Tensor, tolerance: float) -> bool:
    if features.shape != others.shape:
        return False
    return bool((features - others).abs().max() <= tolerance * features.abs().max())


def _what(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)[:200]}"
