"""Extractors of one's own: an exported program (FILE.pt2) or a Python callable (module:callable).

Both are code that runs with the rights of whoever starts it, so name only what you trust. For a
callable that is plain; reading a .pt2 file, too, evaluates expressions it holds, and torch offers
no way around that. Files that hold pickled objects or compiled libraries are refused.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import sys
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from dcgan.config.train_config import EXTRACTORS
from dcgan.errors import EvaluationError, first_line
from dcgan.runtime.numerics import full_float32

TAKEN = re.compile(
    rf"|custom|{'|'.join(EXTRACTORS)}"
    r"|.*_(ema|raw|standard_error|low|high|times_floor|holdout|trained)"
)
"""Names of other extractors, and endings that the records of a run give to a metric's name."""
REPEATS = 1e-4
"""Features of the same images may differ by this much from call to call, in parts of the largest:
float32 rounding, summed up in another order."""
ALONE = 1e-2
"""Likewise when an image is alone in its batch, where half-precision code may run differently."""
HOW_TO_EXPORT = (
    "export it in eval mode with torch.export.export(model, (images,), "
    'dynamic_shapes=({0: torch.export.Dim("batch")},)), images uint8 (N, 3, S, S)'
)
_imported: dict[str, str] = {}
"""Digest of each module's file when it was first used: what is imported stays as it was then."""


class CustomExtractor:
    """Features of a user's function; its metrics are called fd_NAME and kd_NAME.

    Args:
        function: uint8 (N, 3, H, W) on `device`, any N >= 1 -> floating-point (N, d), each row
            depending on its image only; the same again when called again.
        label: the last part of its name as the user wrote it.
        source: what the user calls it, as in `eval.extractor`.
        definition: says all that its features depend on; hashed into the fingerprint.
        image_size: side of the images it is tried with to learn d.

    Raises:
        EvaluationError: its name is taken, or it does not do what is asked of `function`.
    """

    def __init__(
        self,
        function: Callable[[Tensor], object],
        *,
        label: str,
        source: str,
        definition: str,
        device: torch.device,
        image_size: int,
    ) -> None:
        self.name = re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")
        if TAKEN.fullmatch(self.name):
            raise EvaluationError(
                f"the extractor {source} cannot lend its metrics the name {self.name!r}, which is "
                "empty or taken; rename it"
            )
        self.frechet_name, self.kernel_name = f"fd_{self.name}", f"kd_{self.name}"
        self.source, self.device, self._function = source, device, function
        self.fingerprint = hashlib.sha256(definition.encode()).hexdigest()
        self.dimension = self._tried(image_size)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) on `device` -> float32 (N, dimension)."""
        try:
            # a copy: the function may change its input in place, and these may be the photos
            output = self._function(images.clone())
        except (torch.OutOfMemoryError, MemoryError):
            raise  # whoever asked knows which settings shrink the need
        except Exception as error:
            if "not enough memory" in str(error):  # torch's CPU allocator has no type for it
                raise
            raise self._wrong(
                f"failed on images of the shape {tuple(images.shape)} ({_what(error)})"
            ) from error
        if not isinstance(output, Tensor) or not output.is_floating_point():
            kind = output.dtype if isinstance(output, Tensor) else type(output).__name__
            raise self._wrong(f"must return a floating-point tensor but returned {kind}")
        if output.ndim != 2 or len(output) != len(images) or not output.shape[1]:
            raise self._wrong(
                f"must return one row of features per image, the shape ({len(images)}, d), but "
                f"returned {tuple(output.shape)}"
            )
        return output.float()

    def _tried(self, image_size: int) -> int:
        """The number of features, learnt from a few images; refuses what cannot be compared."""
        rng = torch.Generator().manual_seed(0)
        # 16 blocks of colour each: images that differ as a whole, unlike noise
        blocks = torch.randint(0, 256, (4, 3, 4, 4), generator=rng, dtype=torch.uint8)
        images = nn.functional.interpolate(blocks, size=(image_size, image_size)).to(self.device)
        with full_float32(self.device):
            first, again, alone = self(images), self(images), self(images[:1])
        if not first.isfinite().all():
            raise self._wrong("returned NaN or infinite features")
        if not _close(first, again, REPEATS):
            raise self._wrong(
                "returned other features for the same images when called again; take out what is "
                "random, such as dropout (eval mode)"
            )
        if not _close(first[:1], alone, ALONE):
            raise self._wrong(
                "returned other features for an image when it was alone in its batch; each row "
                "must depend on its own image only (BatchNorm in eval mode)"
            )
        return first.shape[1]

    def _wrong(self, what: str) -> EvaluationError:
        return EvaluationError(f"the extractor {self.source} {what}")


def load_custom_extractor(name: str, device: torch.device, image_size: int) -> CustomExtractor:
    """Load "FILE.pt2", an exported program, or "module:callable", looked for in the working folder.

    A program must have been exported with a dynamic batch size. A callable that is a network is
    moved to `device` and set to eval mode. The fingerprint covers the program's bytes, or the
    callable's module (that one file), its name and its attribute `fingerprint`, a string, which
    should say what else its features depend on, such as weights it reads.

    Raises:
        EvaluationError: it cannot be read, imported or run, or does not keep the rules.
    """
    if not name.endswith(".pt2"):
        return _load_callable(name, device, image_size)
    path = Path(name).expanduser()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EvaluationError(
            f"the extractor {path} cannot be read ({error.strerror}); correct eval.extractor"
        ) from error
    return CustomExtractor(
        _exported_function(content, path, device, image_size),
        label=path.stem,
        source=str(path),
        definition=f"exported program 1:{hashlib.sha256(content).hexdigest()}",
        device=device,
        image_size=image_size,
    )


def _exported_function(
    content: bytes, path: Path, device: torch.device, image_size: int
) -> Callable[[Tensor], object]:
    from torch.export.passes import move_to_device_pass

    try:
        _refuse_hidden_code(content)
        program = torch.export.load(BytesIO(content))
        if device.type != "cpu":
            program = move_to_device_pass(program, device)
    except Exception as error:  # whatever a damaged or foreign file makes the reader stumble over
        raise EvaluationError(
            f"the extractor {path} cannot be read as an exported program ({_what(error)}); "
            f"{HOW_TO_EXPORT}"
        ) from error
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    inputs = [values.get(str(name)) for name in program.graph_signature.user_inputs]
    image = inputs[0] if len(inputs) == 1 else None
    if not isinstance(image, Tensor) or image.dtype != torch.uint8 or image.ndim != 4:
        raise EvaluationError(
            f"the extractor {path} must take one uint8 tensor, the images; {HOW_TO_EXPORT}"
        )
    if isinstance(image.shape[0], int):
        raise EvaluationError(
            f"the extractor {path} takes batches of {image.shape[0]} images only; {HOW_TO_EXPORT}"
        )
    if any(isinstance(side, int) and side != image_size for side in image.shape[2:]):
        raise EvaluationError(
            f"the extractor {path} takes images of {' × '.join(map(str, image.shape[2:]))} pixels "
            f"only, not of {image_size}; export it for data.image_size"
        )
    return program.module()


def _refuse_hidden_code(content: bytes) -> None:
    """Raise for an archive that holds pickled objects or compiled libraries.

    torch.export.load runs both without asking: a member that is not just tensors is unpickled.
    """
    with zipfile.ZipFile(BytesIO(content)) as archive:
        for name in archive.namelist():
            if "data/aotinductor/" in name or name.startswith("serialized_"):
                raise ValueError(f"it holds {name}: it is compiled, or a torch before 2.8 wrote it")
            if name.endswith(".pt"):
                torch.load(BytesIO(archive.read(name)), map_location="cpu", weights_only=True)
            elif name.endswith("_config.json"):
                for entry in json.loads(archive.read(name))["config"].values():
                    if entry["use_pickle"] or not re.match("weight_|tensor_", entry["path_name"]):
                        raise ValueError(f"it holds {entry['path_name']}, a pickled object")


def _load_callable(name: str, device: torch.device, image_size: int) -> CustomExtractor:
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
    return CustomExtractor(
        function,
        label=attribute.rpartition(".")[2],
        source=name,
        definition=f"callable 1:{digest}:{attribute}:{declared}",
        device=device,
        image_size=image_size,
    )


def _import(module_name: str, name: str) -> tuple[ModuleType, str]:
    """The module and the digest of its source."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)  # last: a file there must not stand in for an installed module
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a script may call sys.exit as it is imported
        raise EvaluationError(
            f"the extractor {name} cannot be imported ({_what(error)}); modules are looked for "
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
