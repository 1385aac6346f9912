"""The network that defines FID: Inception-v3 of 2015, as torch-fidelity ported it.

torchmetrics' extractor runs torch-fidelity's network, so `fid` is the distance that both report.
Only the canonical weights make `fid` and `kid`; others make `fid_custom` and `kid_custom`.
"""

from __future__ import annotations

import hashlib
from io import BytesIO
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from dcgan.errors import EvaluationError, first_line
from dcgan.evaluation.extractors.base import Extractor
from dcgan.evaluation.extractors.weights import CANONICAL, WeightsFile

DEFINITION = "torch-fidelity inception-v3-compat 2048 1"
"""Part of the fingerprint. Change it with any change of the features but the weights."""
MAX_IMAGES = 64
"""Images per pass. Each needs up to 17 MB."""


def inception_extractor(network: nn.Module, weights_sha256: str, source: str) -> Extractor:
    """The 2048 features after the last pooling. Images of any size are resized to 299 × 299.

    `network` maps uint8 (N, 3, H, W) to float32 (N, 2048).
    """
    names = ("fid", "kid") if weights_sha256 == CANONICAL.sha256 else ("fid_custom", "kid_custom")
    return Extractor(
        name="inception",
        frechet_name=names[0],
        kernel_name=names[1],
        dimension=2048,
        fingerprint=hashlib.sha256(f"{DEFINITION}:{weights_sha256}".encode()).hexdigest(),
        source=source,
        device=next(network.parameters()).device,
        function=lambda images: torch.cat([network(part) for part in images.split(MAX_IMAGES)]),
    )


def load_inception(weights: WeightsFile, device: torch.device) -> Extractor:
    """Build the network on `device`, in eval mode, from a file of weights.

    Raises `EvaluationError` if the file does not hold plain tensors of its names and shapes.
    """
    from torchmetrics.image.fid import NoTrainInceptionV3

    # The class downloads weights unless it gets a file, and its loader would run code hidden in the
    # file. So it gets plain tensors that we wrote ourselves, not the user's file.
    plain: Any = BytesIO()  # torch.load, which the class calls, takes it like a path
    torch.save(_plain_tensors(weights), plain)
    plain.seek(0)
    try:
        # Initial weights must not move the caller's random stream. FID has no antialiasing.
        with torch.random.fork_rng(devices=[]):
            network: nn.Module = NoTrainInceptionV3("inception", ["2048"], plain, antialias=False)
    except RuntimeError as error:
        # load_state_dict gives a title, then a line for each kind of misfit, with up to hundreds
        misfit = str(error).partition("\n")[2].strip().partition(",")[0] or first_line(error)
        raise EvaluationError(
            f"the weights {weights.path} do not fit the Inception network of FID ({misfit}); "
            f"use torch-fidelity's {CANONICAL.cached.name} or a file of the same names and shapes"
        ) from error
    network = network.requires_grad_(False).to(device)
    return inception_extractor(network, weights.sha256, weights.source)


def _plain_tensors(weights: WeightsFile) -> dict[str, Tensor]:
    """The file's state dict, on the CPU. No code in the file is run."""
    try:
        if weights.path.suffix == ".safetensors":
            state: Any = load_safetensors(weights.content)
        else:
            state = torch.load(BytesIO(weights.content), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may raise anything
        raise EvaluationError(
            f"the weights {weights.path} cannot be read as plain tensors "
            f"({type(error).__name__}: {first_line(error)[:150]}); give a file that "
            "torch.save(network.state_dict(), …) or safetensors wrote"
        ) from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise EvaluationError(
            f"the weights {weights.path} must be a state dict, tensors by name, but hold "
            f"{type(state).__name__}; give a file that torch.save(network.state_dict(), …) wrote"
        )
    return dict(state)
