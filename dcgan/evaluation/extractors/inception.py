"""The network that FID is defined with: Inception-v3 of 2015 as torch-fidelity ported it.

torch-fidelity's own class runs, resize like TensorFlow 1 included. `fid` and `kid` are the names
of its distances with the canonical weights only; any others make `fid_custom` and `kid_custom`.
"""

from __future__ import annotations

import hashlib
from io import BytesIO
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from dcgan.errors import EvaluationError, first_line
from dcgan.evaluation.extractors.weights import CANONICAL, WeightsFile

DEFINITION = "torch-fidelity inception-v3-compat 2048 1"
"""Changes with anything but the weights that changes the features, and so the fingerprint."""
MAX_IMAGES = 64
"""Images at once: at 299 × 299 each takes up to 17 MB on the way, however small it came."""


class InceptionNetwork:
    """The 2048 features after the last pooling; images of any size are resized to 299 × 299."""

    name = "inception"
    dimension = 2048

    def __init__(self, network: nn.Module, weights_sha256: str, source: str) -> None:
        canonical = weights_sha256 == CANONICAL.sha256
        self.frechet_name = "fid" if canonical else "fid_custom"
        self.kernel_name = "kid" if canonical else "kid_custom"
        self.fingerprint = hashlib.sha256(f"{DEFINITION}:{weights_sha256}".encode()).hexdigest()
        self.source = source
        self._network = network

    @property
    def device(self) -> torch.device:
        """Where the images must be."""
        return next(self._network.parameters()).device

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) on `device` -> float32 (N, 2048)."""
        return torch.cat([self._network(part)[0] for part in images.split(MAX_IMAGES)])


def load_inception(weights: WeightsFile, device: torch.device) -> InceptionNetwork:
    """Build the network on `device`, in eval mode, from a file of weights.

    Raises:
        EvaluationError: the file does not hold plain tensors of this network's names and shapes.
    """
    network = _network(weights).to(device)
    return InceptionNetwork(network, weights.sha256, weights.source)


def _network(weights: WeightsFile) -> nn.Module:
    from torch_fidelity.feature_extractor_inceptionv3 import (  # type: ignore[import-untyped]
        FeatureExtractorInceptionV3,
    )

    # The class reads its weights with a loader that runs code hidden in a file: it gets plain
    # tensors that we wrote ourselves, never the user's file.
    plain = BytesIO()
    torch.save(_plain_tensors(weights), plain)
    plain.seek(0)
    try:
        # it draws initial weights, which must not move the caller's random stream
        with torch.random.fork_rng(devices=[]):
            network: nn.Module = FeatureExtractorInceptionV3("inception", ["2048"], plain)
    except RuntimeError as error:
        # load_state_dict: a title, then a line for each kind of misfit, which may name hundreds
        misfit = str(error).partition("\n")[2].strip().partition(",")[0] or first_line(error)
        raise EvaluationError(
            f"the weights {weights.path} do not fit the Inception network of FID ({misfit}); "
            f"use torch-fidelity's {CANONICAL.cached.name} or a file of the same names and shapes"
        ) from error
    return network.requires_grad_(False).eval()


def _plain_tensors(weights: WeightsFile) -> dict[str, Tensor]:
    """The file's state dict, on the CPU; no code in it is run."""
    try:
        if weights.path.suffix == ".safetensors":
            state: Any = load_safetensors(weights.content)
        else:
            state = torch.load(BytesIO(weights.content), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes a reader stumble over
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
